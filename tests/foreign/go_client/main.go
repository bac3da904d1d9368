// A client as someone would write it in Go: the stubs that protoc generates, default dial options, nothing of ours.
//
//	go_client --address HOST:PORT
//
// Each scenario makes a topic of its own. Exits 1 at the first that fails, with its name and what was wrong.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"time"

	"google.golang.org/grpc"

	pb "millrace/v1"
)

type client struct {
	ctx    context.Context
	conn   *grpc.ClientConn
	admin  pb.AdminClient
	broker pb.BrokerClient
}

func main() {
	address := flag.String("address", "127.0.0.1:9470", "HOST:PORT of a broker")
	flag.Parse()

	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	conn, err := grpc.DialContext(ctx, *address, grpc.WithInsecure())
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	defer conn.Close()
	c := &client{ctx, conn, pb.NewAdminClient(conn), pb.NewBrokerClient(conn)}

	scenarios := []struct {
		name string
		run  func(*client) error
	}{
		{"append, read and tail", appendReadAndTail},
		{"produce with and without checksum, fetch", produceAndFetch},
		{"fetch goes by credit", fetchByCredit},
		{"large records with default options", largeRecords},
		{"a batch over the topic's limit", batchTooLarge},
		{"a batch over the reply limit", replyTooLarge},
		{"health", health},
		{"reflection", reflection},
	}
	for _, scenario := range scenarios {
		if err := scenario.run(c); err != nil {
			fmt.Fprintf(os.Stderr, "FAILED  %s: %v\n", scenario.name, err)
			os.Exit(1)
		}
		fmt.Println("ok     ", scenario.name)
	}
}
