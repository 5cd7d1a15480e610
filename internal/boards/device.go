package boards

func device() Board {
	return Board{
		File: "device.json", UID: "dunlin-device", Title: "Dunlin: one device",
		Description: "What one agent receives, gives and installs.",
		Variables:   []Variable{sites(), {Name: "instance", Label: "Device", Metric: `dunlin_build_info{site=~"$site",part="agent"}`}},
		Rows: []Row{
			{"At a glance", glance()},
			{"Bytes", deviceBytes()},
			{"The download that runs", running()},
			{"Updates", deviceUpdates()},
		},
	}
}

func glance() []Panel {
	return []Panel{
		{
			Kind: Stat, Title: "Received", Unit: Bytes, Queries: one(`sum(increase(dunlin_content_bytes_total{instance="$instance"}[$__range]))`),
			Description: "Content that this device received, checked and kept.",
		},
		{
			Kind: Stat, Title: "From origins", Unit: Bytes, Queries: one(`sum(increase(dunlin_origin_bytes_total{instance="$instance"}[$__range]))`),
			Description: "What this device drew from origins, for itself and for those it passes it on to.",
		},
		{
			Kind: Stat, Title: "Given to others", Unit: Bytes, Queries: one(`sum(increase(dunlin_sent_bytes_total{instance="$instance"}[$__range]))`),
			Description: "Content that this device sent to others.",
		},
		{
			Kind: Stat, Title: "Peers", Unit: Count, Queries: one(`sum(dunlin_peers{instance="$instance"})`),
			Description: "Devices and cache nodes that it is connected with.",
		},
		{
			Kind: Stat, Title: "Since the last good cycle", Unit: Seconds, Queries: one(`max(time() - (dunlin_last_good_cycle_timestamp_seconds{instance="$instance"} > 0))`),
			Description: "How long ago a cycle ended in which nothing went wrong. Nothing before the first.",
		},
		{
			Kind: Stat, Title: "Approvals hold for", Unit: Seconds, Queries: one(`min(dunlin_metadata_expiry_timestamp_seconds{instance="$instance",role="approvals"}) - time()`),
			Description: "At zero the device installs nothing until it has heard from its depot.",
		},
	}
}

func deviceBytes() []Panel {
	return []Panel{
		{
			Kind: Areas, Title: "Received, by source", Unit: Rate, Queries: by("source", `sum by (source) (rate(dunlin_received_bytes_total{instance="$instance"}[$__rate_interval]))`),
			Description: "What arrives, waste included, by where it comes from.",
		},
		{
			Kind: Areas, Title: "Received, by use", Unit: Rate, Queries: by("use", `sum by (use) (rate(dunlin_received_bytes_total{instance="$instance"}[$__rate_interval]))`),
			Description: "What arrives, by what becomes of it. What is cut off is known, and shown, at the end of a download only.",
		},
		{
			Kind: Lines, Title: "Sent", Unit: Rate, Queries: []Query{
				{`sum by (scope) (rate(dunlin_sent_bytes_total{instance="$instance"}[$__rate_interval]))`, "{{scope}}"},
				{`sum(rate(dunlin_swarm_sent_wire_bytes_total{instance="$instance"}[$__rate_interval]))`, "on the wire"},
			},
			Description: "What this device gives to others, before compression and as it went over the wire.",
		},
		{
			Kind: Areas, Title: "Why origins were asked", Unit: Rate, Queries: by("reason", `sum by (reason) (rate(dunlin_origin_bytes_total{instance="$instance"}[$__rate_interval]))`),
			Description: "Origin bytes by reason: own is this device's turn, and the rest is what the site did not deliver.",
		},
	}
}

func running() []Panel {
	return []Panel{
		{
			Kind: Areas, Title: "Sources", Unit: Count, Queries: by("state", `sum by (state) (dunlin_sources{instance="$instance"})`),
			Description: "Members of the download that runs, by why no more is asked of them. The words are explained in the documentation of the command status.",
		},
		{
			Kind: Lines, Title: "The origin", Unit: YesOrNo, Queries: by("state", `max by (state) (dunlin_origin_state{instance="$instance"})`),
			Description: "How the origin stands in the download that runs: one state is 1, and none while nothing is downloaded.",
		},
		{
			Kind: Lines, Title: "Transfers and origin streams", Unit: Count, Queries: []Query{
				{`sum by (kind) (dunlin_active_transfers{instance="$instance"})`, "{{kind}}"},
				{`sum(dunlin_origin_streams{instance="$instance"})`, "requests to origins"},
			},
			Description: "What is under way.",
		},
		{
			Kind: Lines, Title: "Requests to origins", Unit: PerSec, Queries: by("outcome", `sum by (outcome) (rate(dunlin_origin_requests_total{instance="$instance"}[$__rate_interval]))`),
			Description: "Requests for content to origins, by how they ended.",
		},
	}
}

func deviceUpdates() []Panel {
	return []Panel{
		{
			Kind: Areas, Title: "Updates", Unit: Count, Queries: by("state", `sum by (state) (dunlin_updates{instance="$instance"})`),
			Description: "Updates that this device knows of, by their state. Their names are on the device's own page and in its status.",
		},
		{
			Kind: Lines, Title: "Cycles", Unit: Count, Queries: by("outcome", `sum by (outcome) (increase(dunlin_cycles_total{instance="$instance"}[$__rate_interval]))`),
			Description: "Cycles by the worst that happened in them. Untrusted must stay at zero.",
		},
		{
			Kind: Lines, Title: "Jobs", Unit: Count, Queries: []Query{{`sum by (action, outcome) (increase(dunlin_jobs_total{instance="$instance"}[$__rate_interval]))`, "{{action}}: {{outcome}}"}},
			Description: "Installations and removals by how they ended.",
		},
		{
			Kind: Lines, Title: "Piece checks", Unit: PerSec, Queries: by("result", `sum by (result) (rate(dunlin_piece_checks_total{instance="$instance"}[$__rate_interval]))`),
			Description: "Received pieces that were checked against their hash, by the result.",
		},
	}
}
