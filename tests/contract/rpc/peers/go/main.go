// Command peer is a CSI driver and a CSI client made with grpc-go, for Moorage's contract tests.
//
//	peer serve SOCKET [ROOT]   a tiny driver; it ends when its standard input is closed
//	peer call SOCKET           a client that walks through a driver's calls and prints the outcomes as JSON
//
// The driver fails on demand: see failure in controller.go. With ROOT its volumes are directories below ROOT,
// which its node service mounts, so that an orchestrator can use it.
package main

import (
	"fmt"
	"io"
	"net"
	"os"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
)

func main() {
	var err error
	switch {
	case len(os.Args) >= 3 && len(os.Args) <= 4 && os.Args[1] == "serve":
		root := ""
		if len(os.Args) == 4 {
			root = os.Args[3]
		}
		err = serve(os.Args[2], root)
	case len(os.Args) == 3 && os.Args[1] == "call":
		err = call(os.Args[2])
	default:
		err = fmt.Errorf("use: peer serve SOCKET [ROOT] | peer call SOCKET")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "peer:", err)
		os.Exit(1)
	}
}

// serve answers on the socket until standard input ends, as it does when the test dies. It says "ready" once
// it listens.
func serve(socket, root string) error {
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	server := grpc.NewServer()
	state := &driver{root: root, volumes: map[string]*csi.Volume{}}
	csi.RegisterIdentityServer(server, state)
	csi.RegisterControllerServer(server, state)
	csi.RegisterSnapshotMetadataServer(server, state)
	if root != "" {
		csi.RegisterNodeServer(server, &node{driver: state})
	}
	go func() {
		io.Copy(io.Discard, os.Stdin)
		server.Stop()
	}()
	fmt.Println("ready")
	return server.Serve(listener)
}
