package recovery

// What the tests of how recovery behaves with a real store drive by hand.
var (
	Pilot    = (*Service).pilot
	Finish   = (*Service).finish
	TakeBack = (*Service).takeBack
	Steps    = (*Service).stepsOf
)
