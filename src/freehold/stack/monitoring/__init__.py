"""What measures the stack, as texts: scrape targets, recording rules, alerts, dashboards. Pure."""
