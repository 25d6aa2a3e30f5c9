// Package interop talks to whole nodes with clients we did not write: the mosquitto tools, the two Paho libraries for Go,
// and MQTT.js in Node and in a browser. What they do with a packet is not ours to choose, so each story here is one that
// people will live through. The package is all tests.
package interop
