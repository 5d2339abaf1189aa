package gallery

import (
	"slices"
	"time"
)

// shown are the parts with an example.
func shown(now time.Time) []Part { return slices.Concat(reading(now), acting(), telling(now)) }

// reading are the parts that show values.
func reading(now time.Time) []Part {
	return []Part{
		{ID: "badge", Name: "Status badge", For: "A state in colour, icon and words.", Parts: []string{"Badge", "WorkBadge", "StatusIcon", "Value", "Text", "LinkCell"},
			Use: []string{"Give it a cell of the package view; colour and icon follow from its status.",
				"WorkBadge is for work, where “running” is not an end; Value and LinkCell show the same cells as numbers and links.",
				"With a name, live updates find it; it moves once when it changes."},
			Access:  []string{"Never colour alone: the words say the same.", "The reason is its tooltip, and stands in words on the page of the agent.", "It does not move for whoever asks for less motion."},
			Example: badges()},
		{ID: "metric", Name: "Metric widget", For: "One number that matters: how it is, where it goes, how fresh it is, and where it comes from.", Parts: []string{"Metric"},
			Use: []string{"No trend without two measured values; say what it is compared with.",
				"A number that nobody knows is a dash with the reason, never a zero."},
			Access:  []string{"A region with the label as its name.", "The sparkline is read out as lowest, highest and last value.", "Up and down are arrows and words, beside the colour."},
			Example: metrics(now)},
		{ID: "sparkline", Name: "Sparkline", For: "How a value went, in the size of a word.", Parts: []string{"Sparkline"},
			Use: []string{"nil is a gap: nothing is known of that time, and nothing is drawn."}, Access: []string{"A picture with a name that says lowest, highest and last."}, Example: sparklines()},
		{ID: "table", Name: "Data table", For: "Rows that are compared.", Parts: []string{"Table", "SelectCell"},
			Use:     []string{"Every td has data-label: on a narrow screen rows become cards.", "Sorting is a link, so that the order has an address."},
			Access:  []string{"It has a caption; heads of columns say how it is sorted.", "Boxes are named after their row.", "What scrolls can be reached and scrolled by keyboard."},
			Example: tables()},
		{ID: "json", Name: "JSON viewer", For: "A value of any shape, as a tree that opens and closes.", Parts: []string{"JSON"},
			Use:     []string{"Long texts, long lists and deep branches are cut, and it says so.", "Whoever needs the whole gets a link to download it."},
			Access:  []string{"Branches are native: Enter opens, and screen readers hear whether they are open.", "It works without scripts."},
			Example: documents()},
		{ID: "code", Name: "Code and difference", For: "Text to be read line by line, and what changed between two.", Parts: []string{"Code", "CopyButton", "Diff"},
			Use:     []string{"Equal lines far from a difference are folded."},
			Access:  []string{"Plus and minus say what colour says.", "Long lines scroll in their frame, by keyboard too."},
			Example: codes()},
		{ID: "log", Name: "Log lines", For: "What programs print, made harmless.", Parts: []string{"Log", "LogRow", "LogText", "LogFound"},
			Use:     []string{"Nothing in a line becomes markup; colours of terminals become ours; what can't be seen is made visible.", "A long line is cut and can be opened."},
			Access:  []string{"A log region that is not read out by itself, so that it does not interrupt.", "Levels are words too where they are known."},
			Example: logs(now)},
		{ID: "time", Name: "Time", For: "When something was.", Parts: []string{"Time", "TimeCell"},
			Use: []string{"With scripts it says how long ago, and stays fresh; without them it is a date in UTC."}, Access: []string{"The whole time is in the element and its tooltip."}, Example: times(now)},
		{ID: "card", Name: "Card and facts", For: "A part of a page with its own heading, and names with values.", Parts: []string{"Card", "Fact", "Facts"},
			Use: []string{"Lift is for cards that lead somewhere; others lie still."}, Access: []string{"A heading of the second level; facts are a description list.", "Nothing lifts for whoever asks for less motion."}, Example: cards()},
	}
}

// acting are the parts that people press and fill in.
func acting() []Part {
	return []Part{
		{ID: "button", Name: "Button", For: "Something to press.", Parts: []string{"Button"},
			Use:     []string{"At most one primary button on a screen.", "A button that can't work says why in its tooltip, or is left out."},
			Access:  []string{"A link if it leads somewhere, else a button.", "One with an icon alone has its label for screen readers and as a tooltip.", "At least 24 px, 44 px for fingers on a phone's main actions."},
			Example: buttons()},
		{ID: "menu", Name: "Menu", For: "Actions behind a button.", Parts: []string{"Menu", "MenuItem", "MenuLink", "MenuTitle", "MenuLine"},
			Use:     []string{"What is dangerous stands last, below a line.", "What is not possible now stays, with the reason."},
			Access:  []string{"It opens without scripts. With them arrows, Home, End and letters move in it; Escape gives the focus back."},
			Example: menus()},
		{ID: "dialog", Name: "Confirmation", For: "What an action means, before it is done.", Parts: []string{"Dialog", "Confirm"},
			Use:     []string{"Say what will happen, who is affected, and how to get back.", "What can't be undone asks for a word to be typed."},
			Access:  []string{"The focus goes into it, stays in it, and returns to what opened it; Escape closes it.", "Without scripts it is a page of its own."},
			Example: dialogs()},
		{ID: "field", Name: "Field", For: "A value to fill in.", Parts: []string{"Field", "Check"},
			Use:     []string{"The label stays; a placeholder is an example only.", "An error says how the value has to be."},
			Access:  []string{"Label, hint and error are tied to the field, so that they are read out with it.", "An error has an icon and words, not colour alone."},
			Example: fields()},
		{ID: "chips", Name: "Filter chips", For: "Values of a filter that are turned on and off.", Parts: []string{"Chips"},
			Use: []string{"They are links: every filter has an address that can be sent to others."}, Access: []string{"The one that is on is marked as current and says so."}, Example: chips()},
		{ID: "tabs", Name: "Tabs", For: "Parts of a page, each at its own address.", Parts: []string{"Tabs"},
			Use: []string{"They are links, not a tab list: the back button works."}, Access: []string{"A named navigation; the current one is marked."}, Example: tabs()},
		{ID: "pagination", Name: "Pagination", For: "The pages before and after.", Parts: []string{"Pagination"},
			Use: []string{"Where nobody counts, it says what is shown and not how many there are."}, Access: []string{"A named navigation; a direction without a page is a disabled button that says why."}, Example: pages()},
	}
}

// telling are the parts that say what happens.
func telling(now time.Time) []Part {
	return []Part{
		{ID: "timeline", Name: "Timeline", For: "What happened, one after the other.", Parts: []string{"Timeline"},
			Use:     []string{"Durations are measured ones.", "Give the addresses of the whole as JSON and CSV, so that it can be kept."},
			Access:  []string{"An ordered list; the status of each entry is read out with its title.", "Details are native and open by keyboard."},
			Example: timelines(now)},
		{ID: "tracker", Name: "Progress tracker", For: "How far work has come, and how to hold or end it.", Parts: []string{"Tracker", "ProgressBar"},
			Use:     []string{"Remaining time comes from how long earlier work of the kind took; without any it says nothing.", "Pause stops before the next step."},
			Access:  []string{"A native progress bar with a name; the share stands beside it in words.", "A bar without a value says that nobody knows how long it takes."},
			Example: trackers()},
		{ID: "live", Name: "Live indicator", For: "Whether the page changes by itself, at once, every few seconds, or not.", Parts: []string{"LiveIndicator"},
			Use: []string{"It stands once in the head of the page and follows the connection by itself."}, Access: []string{"A change is read out politely; the word stands beside the dot."}, Example: live()},
		{ID: "toast", Name: "Toast", For: "What came of an action, and the way back.", Parts: []string{"Toasts", "Toast", "FlashToast"},
			Use:     []string{"As the answer to a form it goes to its place by itself.", "An error stays until it is closed; others wait while they are read."},
			Access:  []string{"Read out politely, errors at once.", "Undo can be reached by keyboard, and is on the page of the operation as well."},
			Example: toasts()},
		{ID: "states", Name: "Empty, loading and error", For: "What stands where there is nothing to show.", Parts: []string{"Empty", "Loading", "Notice", "Failure"},
			Use:     []string{"Say why it is empty and what to do about it.", "An error says what happened, why, and what to do; the id finds it in the log."},
			Access:  []string{"Errors are announced; loading is said once.", "Nothing flickers: loading is not shown for the first 150 ms."},
			Example: states()},
		{ID: "icon", Name: "Icon", For: "A sign beside a word.", Parts: []string{"Icon"},
			Use: []string{"Only icons of assets/vendor/lucide exist; another name fails."}, Access: []string{"Hidden from screen readers: the word beside it says what it means."}, Example: icons()},
		{ID: "brand", Name: "Brand", For: "Whose portal it is.", Parts: []string{"Brand", "Logo"},
			Use: []string{"Name, claim, colours and picture are configuration (brand.*)."}, Access: []string{"The picture is an ornament; the name is text."}, Example: brands()},
	}
}
