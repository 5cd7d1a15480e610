#!/usr/bin/python3
"""One end of a libtorrent transfer on loopback: peer.py TORRENT DIR ADDRESS [SEEDER].

Without SEEDER (IP:PORT) it serves the file in DIR and prints "listening". With one it fetches the file from there, prints
"done" when it is whole, and ends.
"""
import sys
import time

import libtorrent as lt

torrent, path, addr = sys.argv[1:4]
seeder = sys.argv[4] if len(sys.argv) > 4 else None
session = lt.session({
    "listen_interfaces": addr + ":6881", "outgoing_interfaces": addr,
    "enable_dht": False, "enable_lsd": False, "enable_upnp": False, "enable_natpmp": False,
    "enable_outgoing_utp": False, "enable_incoming_utp": False,
    "allow_multiple_connections_per_ip": True, "connections_limit": 500, "unchoke_slots_limit": -1,
    "max_out_request_queue": 2000, "max_allowed_in_request_queue": 4000,
    "send_buffer_watermark": 8 << 20, "send_buffer_low_watermark": 1 << 20, "send_buffer_watermark_factor": 150,
    "alert_mask": lt.alert.category_t.status_notification if seeder else 0,
})
params = lt.add_torrent_params()
params.ti = lt.torrent_info(torrent)
params.save_path = path
params.flags &= ~(lt.torrent_flags.auto_managed | lt.torrent_flags.paused)
if not seeder:
    params.flags |= lt.torrent_flags.seed_mode
handle = session.add_torrent(params)
if not seeder:
    while not handle.status().is_seeding:
        time.sleep(0.01)
    print("listening", flush=True)
    time.sleep(3600)
host, port = seeder.rsplit(":", 1)
handle.connect_peer((host, int(port)))
done = False
while not done:
    session.wait_for_alert(1000)
    done = any(isinstance(a, lt.torrent_finished_alert) for a in session.pop_alerts()) or handle.status().is_seeding
print("done", flush=True)
