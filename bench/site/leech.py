#!/usr/bin/python3
"""Fetch a torrent with libtorrent, found by local service discovery only, and seed until killed.

leech.py TORRENT DIR ADDRESS default|tuned  prints "waste N" (bytes that came twice or were wrong)
and "done" when the file is whole.
"""
import sys
import time

import libtorrent as lt

torrent, path, addr, mode = sys.argv[1:5]
settings = {
    "listen_interfaces": addr + ":6881",
    "enable_dht": False, "enable_lsd": True, "enable_upnp": False, "enable_natpmp": False,
    "enable_outgoing_utp": False, "enable_incoming_utp": False,
    "allow_multiple_connections_per_ip": True, "connections_limit": 500, "unchoke_slots_limit": -1,
    "ssrf_mitigation": False, "alert_mask": 0,
}
info = lt.torrent_info(torrent)
if mode == "tuned":
    settings.update({
        "urlseed_max_request_bytes": info.piece_length(), "urlseed_pipeline_size": 1, "max_web_seed_connections": 1,
        "max_out_request_queue": 2000, "max_allowed_in_request_queue": 4000,
        "send_buffer_watermark": 8 << 20, "send_buffer_low_watermark": 1 << 20, "send_buffer_watermark_factor": 150,
    })
session = lt.session(settings)
params = lt.add_torrent_params()
params.ti = info
params.save_path = path
params.flags &= ~(lt.torrent_flags.auto_managed | lt.torrent_flags.paused)
handle = session.add_torrent(params)
while not handle.status().is_seeding:
    time.sleep(0.02)
status = handle.status()
print("waste", status.total_redundant_bytes + status.total_failed_bytes)
print("done", flush=True)
time.sleep(3600)
