// Command b has a name that once confused the build.
package main

func main() { println("a/b") }
