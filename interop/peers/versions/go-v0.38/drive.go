package main

// drive is for the newest version only.
func drive(options) error {
	return unsupported("drive")
}
