package boards

// What people choose: sites, and one device or node of them. The label site is not the programs'; prometheus.yml gives it.
func sites() Variable {
	return Variable{Name: "site", Label: "Site", Metric: "dunlin_build_info", All: true}
}

// due are the states of an update that a device is to have. The others are not for it, or not yet.
const due = `state=~"installed|pending|downloading|installing|failed|refused"`

func site() Board {
	return Board{
		File: "site.json", UID: "dunlin-site", Title: "Dunlin: a site",
		Description: "What a site took from its origins, what its devices and cache nodes gave each other, and what that saved.",
		Variables:   []Variable{sites()},
		Rows: []Row{
			{"What was saved", saved()},
			{"Where the bytes come from", sources()},
			{"Updates", updates()},
			{"Health", health()},
		},
	}
}

func saved() []Panel {
	return []Panel{
		{
			Kind: Stat, Title: "Saved", Unit: Share, Queries: one(`1 - sum(increase(dunlin_origin_bytes_total{site=~"$site"}[$__range])) / sum(increase(dunlin_content_bytes_total{site=~"$site"}[$__range]))`),
			Description: "The share of what devices received that did not have to come from an origin. Waste and prefetch count against it, so it cannot pass 100 %, and a night of prefetching may make it negative.",
		},
		{
			Kind: Stat, Title: "Bytes saved", Unit: Bytes, Queries: one(`sum(increase(dunlin_content_bytes_total{site=~"$site"}[$__range])) - sum(increase(dunlin_origin_bytes_total{site=~"$site"}[$__range]))`),
			Description: "Content delivered to devices less all that the site drew from origins.",
		},
		{
			Kind: Stat, Title: "Delivered", Unit: Bytes, Queries: one(`sum(increase(dunlin_content_bytes_total{site=~"$site"}[$__range]))`),
			Description: "Content delivered to devices: checked and kept by an agent, or sent by a cache node to a client that runs none.",
		},
		{
			Kind: Stat, Title: "From origins", Unit: Bytes, Queries: one(`sum(increase(dunlin_origin_bytes_total{site=~"$site"}[$__range]))`),
			Description: "All that the agents and cache nodes of the site drew from origins, needed or not.",
		},
		{
			Kind: Stat, Title: "From devices", Unit: Bytes, Queries: one(`sum(increase(dunlin_received_bytes_total{site=~"$site",source="peer"}[$__range]))`),
			Description: "What agents and cache nodes received from other devices of the site.",
		},
		{
			Kind: Stat, Title: "From cache nodes", Unit: Bytes, Queries: one(`sum(increase(dunlin_received_bytes_total{site=~"$site",source="cache"}[$__range]))`),
			Description: "What agents received from cache nodes. What clients without an agent took is on the board of the node.",
		},
	}
}

func sources() []Panel {
	return []Panel{
		{
			Kind: Areas, Title: "Origins, devices, cache nodes", Unit: Rate, Queries: []Query{
				{`sum(rate(dunlin_origin_bytes_total{site=~"$site"}[$__rate_interval]))`, "origins"},
				{`sum(rate(dunlin_received_bytes_total{site=~"$site",source="peer"}[$__rate_interval]))`, "devices"},
				{`sum(rate(dunlin_received_bytes_total{site=~"$site",source="cache"}[$__rate_interval]))`, "cache nodes"},
				{`sum(rate(dunlin_sent_bytes_total{site=~"$site",scope="http"}[$__rate_interval]))`, "cache nodes, to clients without an agent"},
			},
			Description: "What comes from where. Only the first of these crosses the line of the site.",
		},
		{
			Kind: Lines, Title: "Saved share", Unit: Share, Queries: one(`1 - sum(rate(dunlin_origin_bytes_total{site=~"$site"}[$__rate_interval])) / sum(rate(dunlin_content_bytes_total{site=~"$site"}[$__rate_interval]))`),
			Description: "The saved share of each moment. It begins low, when the first copy comes, and has gaps where nothing is delivered.",
		},
		{
			Kind: Areas, Title: "Why origins were asked", Unit: Rate, Queries: by("reason", `sum by (reason) (rate(dunlin_origin_bytes_total{site=~"$site"}[$__rate_interval]))`),
			Description: "Origin bytes by reason: own is a device's or node's turn, and the rest is what the site did not deliver.",
		},
		{
			Kind: Areas, Title: "Waste", Unit: Rate, Queries: by("use", `sum by (use) (rate(dunlin_received_bytes_total{site=~"$site",use!="useful"}[$__rate_interval]))`),
			Description: "What arrived and was not needed: duplicates, corrupt pieces, and pieces that were cut off in the middle.",
		},
		{
			Kind: Lines, Title: "Fallbacks", Unit: PerSec, Queries: by("reason", `sum by (reason) (rate(dunlin_fallbacks_total{site=~"$site"}[$__rate_interval]))`),
			Description: "Ranges that were asked of an origin because nobody there had them, or did not deliver them in time.",
		},
		{
			Kind: Lines, Title: "Connected peers", Unit: Count, Queries: by("scope", `sum by (scope) (dunlin_peers{site=~"$site"})`),
			Description: "Connections between devices and cache nodes, each counted at both ends. Zero with several devices means that they do not find each other.",
		},
	}
}

func updates() []Panel {
	return []Panel{
		{
			Kind: Bars, Title: "Content by kind of update", Unit: Bytes, Queries: by("kind", `topk(5, sum by (kind) (increase(dunlin_content_bytes_total{site=~"$site"}[$__range])))`),
			Description: "What was delivered, by the kind of update. Which update it was no metric says: a label for each would have no bound. The page of a device and its status name them.",
		},
		{
			Kind: Stat, Title: "Rollout", Unit: Share, Width: barWide, Queries: one(`sum(dunlin_updates{site=~"$site",state="installed"}) / sum(dunlin_updates{site=~"$site",` + due + `})`),
			Description: "The share of what is approved and due that is installed, over all devices.",
		},
		{
			Kind: Stat, Title: "Downloads, 95 of 100 within", Unit: Seconds, Width: barWide, Queries: one(`histogram_quantile(0.95, sum by (le) (increase(dunlin_download_duration_seconds_bucket{site=~"$site"}[$__range])))`),
			Description: "How long downloads took from their start to their end, those of cache nodes included.",
		},
		{
			Kind: Areas, Title: "Rollout progress", Unit: Count, Queries: by("state", `sum by (state) (dunlin_updates{site=~"$site",`+due+`})`),
			Description: "Updates that are due, by their state, summed over devices: an update that ten devices are to have counts ten times.",
		},
		{
			Kind: Lines, Title: "Jobs that ended", Unit: Count, Queries: by("outcome", `sum by (outcome) (increase(dunlin_jobs_total{site=~"$site"}[$__rate_interval]))`),
			Description: "Installations and removals by how they ended. Untrusted must stay at zero.",
		},
	}
}

func health() []Panel {
	return []Panel{
		{
			Kind: Lines, Title: "Metadata holds for", Unit: Seconds, Queries: by("role", `max by (role) (dunlin_metadata_expiry_timestamp_seconds{site=~"$site"}) - time()`),
			Description: "How long the newest signed metadata that a device of the site has still holds. The depot signs approvals anew when half of three days is over; at zero nothing is installed any more.",
		},
		{
			Kind: Lines, Title: "Since the last good cycle", Unit: Seconds, Queries: one(`max(time() - (dunlin_last_good_cycle_timestamp_seconds{site=~"$site"} > 0))`),
			Description: "How long ago the device that is furthest behind last went through a cycle in which nothing went wrong.",
		},
		{
			Kind: Stat, Title: "Devices", Unit: Count, Queries: one(`count(dunlin_build_info{site=~"$site",part="agent"})`),
			Description: "Agents that were reached by the last scrape.",
		},
		{
			Kind: Stat, Title: "Cache nodes", Unit: Count, Queries: one(`count(dunlin_build_info{site=~"$site",part="cache"})`),
			Description: "Cache nodes that were reached by the last scrape.",
		},
		{
			Kind: Stat, Title: "Corrupt pieces", Unit: Count, Queries: one(`sum(increase(dunlin_piece_checks_total{site=~"$site",result="corrupt"}[$__range]))`),
			Description: "Pieces that did not match their hash. Somebody sent them: a broken machine, or one that lies. None of them was kept.",
		},
		{
			Kind: Stat, Title: "Under way", Unit: Count, Queries: one(`sum(dunlin_active_transfers{site=~"$site",kind="download"})`),
			Description: "Downloads that are under way now.",
		},
	}
}
