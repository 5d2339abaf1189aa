package browser_test

func retire() {}
