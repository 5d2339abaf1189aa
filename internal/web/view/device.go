package view

import "strings"

// browsers are the names by which User-Agents tell browsers apart, those first
// that also claim to be others further down.
var browsers = [][2]string{{"Edg", "Edge"}, {"OPR/", "Opera"}, {"SamsungBrowser/", "Samsung Internet"}, {"Firefox/", "Firefox"}, {"FxiOS/", "Firefox"},
	{"CriOS/", "Chrome"}, {"Chrome/", "Chrome"}, {"Safari/", "Safari"}}

var systems = [][2]string{{"Windows", "Windows"}, {"Android", "Android"}, {"iPhone", "iPhone"}, {"iPad", "iPad"}, {"Mac OS X", "macOS"}, {"CrOS", "ChromeOS"}, {"Linux", "Linux"}}

// Device is the cell of a browser, from what it says of itself: "Firefox on
// Linux". What can't be told is shown as it was sent.
func Device(userAgent string) Cell {
	browser, system := named(browsers, userAgent), named(systems, userAgent)
	switch {
	case userAgent == "":
		return Cell{Text: "Unknown"}
	case browser == "":
		return Cell{Text: Unformatted(userAgent)}
	case system == "":
		return Cell{Text: browser, Hint: Unformatted(userAgent)}
	}
	return Cell{Text: browser + " on " + system, Hint: Unformatted(userAgent)}
}

func named(list [][2]string, userAgent string) string {
	for _, one := range list {
		if strings.Contains(userAgent, one[0]) {
			return one[1]
		}
	}
	return ""
}
