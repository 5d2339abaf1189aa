package promserver

// ResultOf reads what a server answers.
var ResultOf = resultOf
