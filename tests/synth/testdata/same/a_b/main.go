// Command a_b has a name that once confused the build.
package main

func main() { println("a_b") }
