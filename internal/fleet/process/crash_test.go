package process_test

func portalMain(args []string) int { return 0 }
