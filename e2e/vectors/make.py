#!/usr/bin/python3
"""Make piecehash/testdata again with libtorrent (Debian: python3-libtorrent).

    /usr/bin/python3 e2e/vectors/make.py           compare with what is committed, exit 1 on a difference
    /usr/bin/python3 e2e/vectors/make.py --write   write it
    /usr/bin/python3 e2e/vectors/make.py --check FILE.torrent FILE
                                                   libtorrent takes the torrent, and would make the same one of FILE

vectors.json has, for content of several lengths cut into pieces of several lengths, what libtorrent says: the root, the
SHA-256 of the piece layer, and the v2 info-hash of a torrent of a single file with the name "vector.bin". The content
is the stream that piecehash/stream_test.go makes: SHA-256 of 0, 1, 2, ... as 8 bytes little-endian. The .torrent files
are about the same stream and show what other programs write.
"""

import hashlib
import json
import pathlib
import struct
import sys
import tempfile

import libtorrent as lt

KIB, MIB = 1 << 10, 1 << 20
LENGTHS = [1, 16383, 16384, 16385, MIB - 1, MIB, MIB + 1, 3 * MIB + 5, 64 * MIB]
PIECE_LENGTHS = [16 * KIB, 256 * KIB, MIB, 4 * MIB]
NAME = "vector.bin"
TESTDATA = pathlib.Path(__file__).resolve().parents[2] / "piecehash" / "testdata"


def stream(length):
    out = bytearray()
    i = 0
    while len(out) < length:
        out += hashlib.sha256(struct.pack("<Q", i)).digest()
        i += 1
    return bytes(out[:length])


def torrent(folder, path, piece_length, flags):
    """The metainfo of a path in folder as a dictionary, without the date, which would differ each time."""
    files = lt.file_storage()
    lt.add_files(files, str(folder / path))
    t = lt.create_torrent(files, piece_length, flags)
    t.add_url_seed("http://origin.example/dir/")
    lt.set_piece_hashes(t, str(folder))
    meta = t.generate()
    meta.pop(b"creation date", None)
    return meta


def vector(folder, length, piece_length):
    meta = torrent(folder, NAME, piece_length, lt.create_torrent.v2_only)
    info = meta[b"info"]
    root = info[b"file tree"][NAME.encode()][b""][b"pieces root"]
    return {
        "length": length,
        "piece_length": piece_length,
        "root": root.hex(),
        "layer_sha256": hashlib.sha256(meta[b"piece layers"].get(root, b"")).hexdigest(),
        "info_hash": hashlib.sha256(lt.bencode(info)).hexdigest(),
    }


def make():
    """All files of testdata that come from libtorrent, by name."""
    out = {}
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        rows = []
        longest = stream(max(LENGTHS))
        for length in LENGTHS:
            (folder / NAME).write_bytes(longest[:length])
            rows += [json.dumps(vector(folder, length, p)) for p in PIECE_LENGTHS]
        out["vectors.json"] = ("[\n" + ",\n".join(rows) + "\n]\n").encode()

        (folder / NAME).write_bytes(longest[: 3 * MIB + 5])
        (folder / "folder").mkdir()
        for f in ("a", "b"):
            (folder / "folder" / f).write_bytes(longest[:MIB])
        for file, path, flags in (
            ("v2.torrent", NAME, lt.create_torrent.v2_only),
            ("hybrid.torrent", NAME, 0),
            ("v1.torrent", NAME, lt.create_torrent.v1_only),
            ("folder.torrent", "folder", lt.create_torrent.v2_only),
        ):
            out[file] = bytes(lt.bencode(torrent(folder, path, MIB, flags)))
    return out


def check(metainfo, file):
    """Exit code 0 if libtorrent accepts a torrent (layers included) and makes the same v2 info-hash of its file."""
    theirs = lt.torrent_info(metainfo)
    file = pathlib.Path(file).resolve()
    made = torrent(file.parent, file.name, theirs.piece_length(), lt.create_torrent.v2_only)
    ours = lt.torrent_info(lt.bdecode(lt.bencode(made)))
    same = theirs.info_hashes().v2 == ours.info_hashes().v2 and theirs.is_valid()
    print(f"{metainfo}: info-hash {theirs.info_hashes().v2}", "as libtorrent's" if same else f"but {ours.info_hashes().v2}")
    return 0 if same else 1


def main():
    if len(sys.argv) == 4 and sys.argv[1] == "--check":
        return check(sys.argv[2], sys.argv[3])
    made = make()
    if "--write" in sys.argv[1:]:
        for name, data in made.items():
            (TESTDATA / name).write_bytes(data)
        return 0
    differ = [n for n, data in made.items() if not (TESTDATA / n).exists() or (TESTDATA / n).read_bytes() != data]
    for name in differ:
        print(f"{TESTDATA / name} differs from what libtorrent {lt.__version__} makes", file=sys.stderr)
    print(f"{len(made) - len(differ)} of {len(made)} files are what libtorrent {lt.__version__} makes")
    return 1 if differ else 0


if __name__ == "__main__":
    sys.exit(main())
