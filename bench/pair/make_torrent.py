#!/usr/bin/python3
"""Make a BitTorrent v2 torrent of FILE: make_torrent.py FILE OUT."""
import os
import sys

import libtorrent as lt

path, out = sys.argv[1:3]
fs = lt.file_storage()
lt.add_files(fs, path)
torrent = lt.create_torrent(fs, 1 << 20, flags=lt.create_torrent.v2_only)
lt.set_piece_hashes(torrent, os.path.dirname(path))
with open(out, "wb") as f:
    f.write(lt.bencode(torrent.generate()))
