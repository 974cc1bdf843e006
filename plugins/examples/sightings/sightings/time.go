package sightings

// timestamp writes milliseconds since 1970 as ThreatQ has times, in UTC
// (contract: events). Package time would add 320 KB to the module.
func timestamp(ms int64) string {
	seconds := ms / 1000
	if ms%1000 < 0 {
		seconds--
	}
	days, rest := seconds/86400, seconds%86400
	if rest < 0 {
		days, rest = days-1, rest+86400
	}
	// Days to a date by eras of 400 years, which begin in March.
	days += 719468
	era := days / 146097
	if days < 0 {
		era = (days - 146096) / 146097
	}
	of := days - era*146097
	year := (of - of/1460 + of/36524 - of/146096) / 365
	day := of - (365*year + year/4 - year/100)
	month := (5*day + 2) / 153
	day = day - (153*month+2)/5 + 1
	year += era * 400
	if month += 3; month > 12 {
		month, year = month-12, year+1
	}
	return digits(year, 4) + "-" + digits(month, 2) + "-" + digits(day, 2) + " " +
		digits(rest/3600, 2) + ":" + digits(rest/60%60, 2) + ":" + digits(rest%60, 2)
}

func digits(n int64, width int) string {
	text := id(n)
	for len(text) < width {
		text = "0" + text
	}
	return text
}
