package boards

func node() Board {
	return Board{
		File: "cache.json", UID: "dunlin-cache", Title: "Dunlin: a cache node",
		Description: "What a cache node holds, gives and fetches, and how often it had what was asked for.",
		Variables:   []Variable{sites(), {Name: "instance", Label: "Node", Metric: `dunlin_build_info{site=~"$site",part="cache"}`}},
		Rows: []Row{
			{"At a glance", nodeGlance()},
			{"Given", given()},
			{"Fetched", fetched()},
			{"Store", stored()},
		},
	}
}

func nodeGlance() []Panel {
	return []Panel{
		{
			Kind: Stat, Title: "Hits, of requests", Unit: Share, Queries: one(`sum(increase(dunlin_cache_requests_total{instance="$instance",result="hit"}[$__range])) / sum(increase(dunlin_cache_requests_total{instance="$instance",result=~"hit|miss"}[$__range]))`),
			Description: "The share of requests for content by HTTP that waited for nothing.",
		},
		{
			Kind: Stat, Title: "Hits, of bytes", Unit: Share, Queries: one(`sum(increase(dunlin_cache_served_bytes_total{instance="$instance",result="hit"}[$__range])) / sum(increase(dunlin_cache_served_bytes_total{instance="$instance"}[$__range]))`),
			Description: "The share of the bytes sent by HTTP that were there when it was their turn.",
		},
		{
			Kind: Stat, Title: "Given", Unit: Bytes, Queries: one(`sum(increase(dunlin_sent_bytes_total{instance="$instance"}[$__range]))`),
			Description: "Content that the node gave to devices over their own links, and by HTTP.",
		},
		{
			Kind: Stat, Title: "From origins", Unit: Bytes, Queries: one(`sum(increase(dunlin_origin_bytes_total{instance="$instance"}[$__range]))`),
			Description: "What the node drew from origins, needed or not.",
		},
		{
			Kind: Stat, Title: "Given for each byte drawn", Unit: Count, Queries: one(`sum(increase(dunlin_sent_bytes_total{instance="$instance"}[$__range])) / sum(increase(dunlin_origin_bytes_total{instance="$instance"}[$__range]))`),
			Description: "How often the node gave on average what it drew from origins. Below 1 it costs more than it saves.",
		},
		{
			Kind: Stat, Title: "Full", Unit: Share, Queries: one(`max(dunlin_cache_bytes{instance="$instance"} / dunlin_cache_capacity_bytes{instance="$instance"})`),
			Description: "How much of what the store may take is taken.",
		},
	}
}

func given() []Panel {
	return []Panel{
		{
			Kind: Areas, Title: "Sent, by whom it went to", Unit: Rate, Queries: by("scope", `sum by (scope) (rate(dunlin_sent_bytes_total{instance="$instance"}[$__rate_interval]))`),
			Description: "Content sent to devices over their own links (lan), and by HTTP to clients without an agent (http) and with one (http_device).",
		},
		{
			Kind: Areas, Title: "Sent by HTTP, hit or miss", Unit: Rate, Queries: by("result", `sum by (result) (rate(dunlin_cache_served_bytes_total{instance="$instance"}[$__rate_interval]))`),
			Description: "Content sent by HTTP that was there when it was its turn, and that had to be waited for.",
		},
		{
			Kind: Lines, Title: "Requests", Unit: PerSec, Queries: by("result", `sum by (result) (rate(dunlin_cache_requests_total{instance="$instance"}[$__rate_interval]))`),
			Description: "Requests by HTTP. Refused ones ask for what is not known or not allowed; failed ones could not be served.",
		},
		{
			Kind: Lines, Title: "Under way", Unit: Count, Queries: []Query{
				{`sum by (kind) (dunlin_active_transfers{instance="$instance"})`, "{{kind}}"}, {`sum(dunlin_peers{instance="$instance"})`, "peers"},
			},
			Description: "Answers and downloads that are under way, and devices that are connected.",
		},
	}
}

func fetched() []Panel {
	return []Panel{
		{
			Kind: Areas, Title: "Received, by source", Unit: Rate, Queries: by("source", `sum by (source) (rate(dunlin_received_bytes_total{instance="$instance"}[$__rate_interval]))`),
			Description: "What the node fetches, waste included, by where it comes from.",
		},
		{
			Kind: Areas, Title: "Waste", Unit: Rate, Queries: by("use", `sum by (use) (rate(dunlin_received_bytes_total{instance="$instance",use!="useful"}[$__rate_interval]))`),
			Description: "What arrived and was not needed.",
		},
		{
			Kind: Stat, Title: "Prefetched", Unit: Bytes, Queries: one(`sum(increase(dunlin_prefetched_bytes_total{instance="$instance"}[$__range]))`),
			Description: "What was fetched before anybody had asked for it by HTTP. It is no content delivered, so it lowers the saved share until it is used.",
		},
		{
			Kind: Stat, Title: "Delivered by HTTP", Unit: Bytes, Queries: one(`sum(increase(dunlin_content_bytes_total{instance="$instance"}[$__range]))`),
			Description: "Content that clients without an agent took from the node.",
		},
		{
			Kind: Stat, Title: "Approvals hold for", Unit: Seconds, Queries: one(`min(dunlin_metadata_expiry_timestamp_seconds{instance="$instance",role="approvals"}) - time()`),
			Description: "At zero the node learns of nothing new and fetches nothing ahead until it has heard from its depot. A node that has not joined has no approvals, and nothing here.",
		},
		{
			Kind: Lines, Title: "Requests to origins", Unit: PerSec, Queries: by("outcome", `sum by (outcome) (rate(dunlin_origin_requests_total{instance="$instance"}[$__rate_interval]))`),
			Description: "Requests for content to origins, by how they ended.",
		},
	}
}

func stored() []Panel {
	return []Panel{
		{
			Kind: Lines, Title: "Store", Unit: Bytes, Queries: []Query{
				{`max(dunlin_cache_bytes{instance="$instance"})`, "taken"}, {`max(dunlin_cache_capacity_bytes{instance="$instance"})`, "may be taken"},
			},
			Description: "What the store takes of its disk, and what it may.",
		},
		{
			Kind: Lines, Title: "Contents", Unit: Count, Queries: by("state", `sum by (state) (dunlin_cache_contents{instance="$instance"})`),
			Description: "Contents that are in the store, whole or in part.",
		},
		{
			Kind: Lines, Title: "Removed", Unit: Rate, Queries: []Query{{`sum(rate(dunlin_cache_removed_bytes_total{instance="$instance"}[$__rate_interval]))`, "removed"}},
			Description: "Content that was deleted to make room, or because nobody had asked for it for long.",
		},
		{
			Kind: Lines, Title: "Trouble with the disk", Unit: Count, Queries: by("trouble", `max by (trouble) (dunlin_cache_trouble{instance="$instance"})`),
			Description: "1 while the store takes no content: the disk is full of other things, or reports errors. What is stored is served.",
		},
		{
			Kind: Lines, Title: "Checks of stored pieces", Unit: PerSec, Queries: by("result", `sum by (result) (rate(dunlin_stored_piece_checks_total{instance="$instance"}[$__rate_interval]))`),
			Description: "Stored pieces that were hashed before they left for the first time. Damaged ones mean that the disk forgets.",
		},
		{
			Kind: Lines, Title: "Piece checks", Unit: PerSec, Queries: by("result", `sum by (result) (rate(dunlin_piece_checks_total{instance="$instance"}[$__rate_interval]))`),
			Description: "Received pieces that were checked against their hash, by the result.",
		},
	}
}
