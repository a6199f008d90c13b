// Command fn shares its name with another one, for the test of their builds.
package main

func main() { println("b") }
