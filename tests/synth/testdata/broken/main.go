// Command broken doesn't compile, for the test of what a user then sees.
package main

func main() { thisIsNotDefined() }
