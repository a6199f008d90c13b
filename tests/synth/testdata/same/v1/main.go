// Command v1 has a name that once confused the build.
package main

func main() { println("v1") }
