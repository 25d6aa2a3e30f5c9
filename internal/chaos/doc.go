// Package chaos holds tests of whole clusters under load, whose nodes die, hang, lose each other, their power, their disk or
// their time, are replaced, restarted and moved. TestCluster... run nodes inside the test, TestChaos... run processes, in
// network namespaces where the test may make them. Each checks what every acknowledged publish and every reader must find.
package chaos
