"""Why a candidate is in or out: checks in order, cheapest first, each with a verdict that is kept."""
