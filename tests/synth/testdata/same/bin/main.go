// Command bin has a name that once confused the build.
package main

func main() { println("bin") }
