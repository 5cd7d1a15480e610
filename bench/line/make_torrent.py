#!/usr/bin/python3
"""Make a hybrid torrent (v1 and v2) of FILE with a web seed: make_torrent.py FILE URL OUT [PIECE_LENGTH]."""
import os
import sys

import libtorrent as lt

path, url, out = sys.argv[1:4]
piece = int(sys.argv[4]) if len(sys.argv) > 4 else 1 << 20
fs = lt.file_storage()
lt.add_files(fs, path)
torrent = lt.create_torrent(fs, piece)
torrent.add_url_seed(url)
lt.set_piece_hashes(torrent, os.path.dirname(path))
with open(out, "wb") as f:
    f.write(lt.bencode(torrent.generate()))
