package main

// `drive` is of the newest peer only, and so is its DHT.
