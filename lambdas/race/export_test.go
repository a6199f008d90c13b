package race

// ParseSlowly is Parse without its short cut.
var ParseSlowly = parse
