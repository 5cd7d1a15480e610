package boards

// staleDevices counts devices as the alert of that name does. The time of the last good cycle is zero before the first: such a device
// counts when it was the same four hours ago, and with zero otherwise, so that there is a figure for a fleet of new devices too.
const staleDevices = `sum(time() - (dunlin_last_good_cycle_timestamp_seconds{site=~"$site"} > 0) > bool 14400 ` +
	`or (dunlin_last_good_cycle_timestamp_seconds{site=~"$site"} offset 4h == bool 0) and dunlin_last_good_cycle_timestamp_seconds{site=~"$site"} == 0 ` +
	`or dunlin_last_good_cycle_timestamp_seconds{site=~"$site"} == 0)`

func fleet() Board {
	return Board{
		File: "fleet.json", UID: "dunlin-fleet", Title: "Dunlin: the fleet",
		Description: "All sites side by side: what each saved, what it cost its line, and who falls behind.",
		Variables:   []Variable{sites()},
		Rows: []Row{
			{"All together", totals()},
			{"Site by site", compared()},
			{"Devices", devices()},
		},
	}
}

func totals() []Panel {
	return []Panel{
		{
			Kind: Stat, Title: "Saved", Unit: Share, Queries: one(`1 - sum(increase(dunlin_origin_bytes_total{site=~"$site"}[$__range])) / sum(increase(dunlin_content_bytes_total{site=~"$site"}[$__range]))`),
			Description: "The share of what devices received that did not have to come from an origin.",
		},
		{
			Kind: Stat, Title: "Bytes saved", Unit: Bytes, Queries: one(`sum(increase(dunlin_content_bytes_total{site=~"$site"}[$__range])) - sum(increase(dunlin_origin_bytes_total{site=~"$site"}[$__range]))`),
			Description: "Content delivered to devices less all that was drawn from origins.",
		},
		{
			Kind: Stat, Title: "From origins", Unit: Bytes, Queries: one(`sum(increase(dunlin_origin_bytes_total{site=~"$site"}[$__range]))`),
			Description: "All that agents and cache nodes drew from origins, needed or not.",
		},
		{
			Kind: Stat, Title: "Sites", Unit: Count, Queries: one(`count(count by (site) (dunlin_build_info{site=~"$site"}))`),
			Description: "Sites of which at least one agent or cache node was reached.",
		},
		{
			Kind: Stat, Title: "Devices", Unit: Count, Queries: one(`count(dunlin_build_info{site=~"$site",part="agent"})`),
			Description: "Agents that were reached by the last scrape.",
		},
		{
			Kind: Stat, Title: "Rollout", Unit: Share, Queries: one(`sum(dunlin_updates{site=~"$site",state="installed"}) / sum(dunlin_updates{site=~"$site",` + due + `})`),
			Description: "The share of what is approved and due that is installed, over all devices.",
		},
	}
}

func compared() []Panel {
	return []Panel{
		{
			Kind: Bars, Title: "Saved share", Unit: Share, Queries: by("site", `1 - sum by (site) (increase(dunlin_origin_bytes_total{site=~"$site"}[$__range])) / sum by (site) (increase(dunlin_content_bytes_total{site=~"$site"}[$__range]))`),
			Description: "The saved share of each site. A site with one device and no cache node has nobody to save with.",
		},
		{
			Kind: Bars, Title: "Bytes saved", Unit: Bytes, Queries: by("site", `sum by (site) (increase(dunlin_content_bytes_total{site=~"$site"}[$__range])) - sum by (site) (increase(dunlin_origin_bytes_total{site=~"$site"}[$__range]))`),
			Description: "Content delivered to devices less all that was drawn from origins, site by site.",
		},
		{
			Kind: Bars, Title: "Not installed yet", Unit: Share, Queries: by("site", `1 - sum by (site) (dunlin_updates{site=~"$site",state="installed"}) / sum by (site) (dunlin_updates{site=~"$site",`+due+`})`),
			Description: "The share of what is approved and due that is not installed yet, site by site.",
		},
		{
			Kind: Lines, Title: "Origin bytes of one day", Unit: Bytes, Queries: []Query{
				{`site:dunlin_origin_bytes:increase1d{site=~"$site"}`, "{{site}}"}, {`dunlin:origin_budget_bytes:day`, "budget"},
			},
			Description: "What each site drew from origins within the last day, and what it may. The budget is a recording rule that every organisation sets for itself.",
		},
		{
			Kind: Lines, Title: "Saved share of one day", Unit: Share, Queries: by("site", `site:dunlin_savings:ratio_increase1d{site=~"$site"}`),
			Description: "The saved share of the last day of each site.",
		},
		{
			Kind: Lines, Title: "Content delivered", Unit: Rate, Queries: by("site", `sum by (site) (rate(dunlin_content_bytes_total{site=~"$site"}[$__rate_interval]))`),
			Description: "How fast content reaches devices, site by site.",
		},
		{
			Kind: Lines, Title: "Approvals hold for", Unit: Seconds, Queries: by("site", `max by (site) (dunlin_metadata_expiry_timestamp_seconds{site=~"$site",role="approvals"}) - time()`),
			Description: "How long the newest approvals that a site has still hold. A site that falls behind the others does not reach the depot.",
		},
	}
}

func devices() []Panel {
	return []Panel{
		{
			Kind: Stat, Title: "Stale devices", Unit: Count, Queries: one(staleDevices),
			Description: "Devices without a good cycle for four hours, of those that answer. One in its first cycle is not stale yet.",
		},
		{
			Kind: Stat, Title: "Silent devices", Unit: Count, Queries: one(`sum(up{job="dunlin-agent",site=~"$site"} == bool 0)`),
			Description: "Devices that did not answer the last scrape: asleep, off or gone. After a week of that there is an alert.",
		},
		{
			Kind: Stat, Title: "Failed updates", Unit: Count, Queries: one(`sum(dunlin_updates{site=~"$site",state=~"failed|refused"})`),
			Description: "Updates that devices could not, or must not, install, summed over devices.",
		},
		{
			Kind: Stat, Title: "Corrupt pieces", Unit: Count, Queries: one(`sum(increase(dunlin_piece_checks_total{site=~"$site",result="corrupt"}[$__range]))`),
			Description: "Pieces that did not match their hash, over all sites.",
		},
		{
			Kind: Bars, Title: "Versions", Unit: Count, Queries: by("version", `count by (version) (dunlin_build_info{site=~"$site",part="agent"})`),
			Description: "Agents by version.",
		},
	}
}
