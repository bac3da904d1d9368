package main

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/reflection/grpc_reflection_v1alpha"
	"google.golang.org/protobuf/proto"

	pb "millrace/v1"
)

const (
	mib           = 1 << 20
	replyBytesMax = 4_000_000
)

func want(what string, got, wanted interface{}) error {
	if reflect.DeepEqual(got, wanted) {
		return nil
	}
	return fmt.Errorf("%s is %v, not %v", what, got, wanted)
}

// first returns the first error there is.
func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *client) create(topic string, config map[string]string) error {
	_, err := c.admin.CreateTopic(c.ctx, &pb.CreateTopicRequest{Name: topic, Config: config})
	return err
}

// produce sends each batch in a message of its own and returns the acks in the batches' order.
func (c *client) produce(topic string, batches ...*pb.RecordBatch) ([]*pb.ProduceAck, error) {
	stream, err := c.broker.Produce(c.ctx)
	if err != nil {
		return nil, err
	}
	defer stream.CloseSend()
	for i, batch := range batches {
		request := &pb.ProduceRequest{Batches: []*pb.PartitionBatch{{Id: uint64(i), Topic: topic, Batch: batch}}}
		if err := stream.Send(request); err != nil {
			return nil, err
		}
	}
	acks := make([]*pb.ProduceAck, len(batches))
	for missing := len(batches); missing > 0; {
		response, err := stream.Recv()
		if err != nil {
			return nil, err
		}
		for _, ack := range response.Acks {
			acks[ack.Id] = ack
			missing--
		}
	}
	return acks, nil
}

func (c *client) fetch() (pb.Broker_FetchClient, error) { return c.broker.Fetch(c.ctx) }

func subscribe(stream pb.Broker_FetchClient, topic string, credit int64) error {
	return stream.Send(&pb.FetchRequest{
		Credit:    credit,
		Subscribe: []*pb.FetchSubscription{{Id: 1, Topic: topic, Position: &pb.FetchSubscription_Offset{Offset: 0}}},
	})
}

// receive returns the next `count` batches of a stream with one subscription.
func receive(stream pb.Broker_FetchClient, count int) ([]*pb.FetchedBatch, error) {
	var batches []*pb.FetchedBatch
	for len(batches) < count {
		response, err := stream.Recv()
		if err != nil {
			return nil, err
		}
		if size := proto.Size(response); size > replyBytesMax {
			return nil, fmt.Errorf("a reply of %d bytes", size)
		}
		for _, partition := range response.Partitions {
			if partition.Error != nil {
				return nil, fmt.Errorf("the subscription ended: %v", partition.Error)
			}
			batches = append(batches, partition.Batches...)
		}
	}
	return batches, nil
}

// errorOf is the Error in a failed call's trailing metadata.
func errorOf(err error, trailer metadata.MD) (*pb.Error, error) {
	values := trailer.Get("millrace-error-bin")
	if err == nil || len(values) != 1 {
		return nil, fmt.Errorf("no typed error: %v, %v", err, trailer)
	}
	result := &pb.Error{}
	return result, proto.Unmarshal([]byte(values[0]), result)
}

func appendReadAndTail(c *client) error {
	const topic = "go.append-read-tail"
	if err := c.create(topic, nil); err != nil {
		return err
	}
	sent := []*pb.PlainRecord{
		{Key: []byte("k"), Value: []byte("first"), Timestamp: 1_372_636_800_000,
			Headers: []*pb.Header{{Key: "trace", Value: []byte{0, 255}}, {Key: "trace"}}},
		{Key: []byte{}, Value: []byte{}, Timestamp: 1},
		{Timestamp: 2},
	}
	appended, err := c.broker.Append(c.ctx, &pb.AppendRequest{Topic: topic, Partition: new(int32), Records: sent})
	if err != nil {
		return err
	}
	read, err := c.broker.Read(c.ctx, &pb.ReadRequest{Topic: topic})
	if err != nil {
		return err
	}
	if err := first(want("records", len(read.Records), 3), want("next_offset", read.NextOffset, int64(3)),
		want("durability", appended.Durability, pb.Durability_DURABILITY_QUORUM_DISK)); err != nil {
		return err
	}
	for i, record := range read.Records {
		if err := want("offset", record.Offset, int64(i)); err != nil {
			return err
		}
		record.Offset, record.AppendTime, record.LeaderEpoch = 0, 0, 0
		if !proto.Equal(record, sent[i]) { // null and empty are told apart
			return fmt.Errorf("record %d is %v, not %v", i, record, sent[i])
		}
	}

	tail, err := c.broker.Tail(c.ctx, &pb.TailRequest{Topic: topic, Offset: proto.Int64(3)})
	if err != nil {
		return err
	}
	later := []*pb.PlainRecord{{Value: []byte("later")}}
	if _, err := c.broker.Append(c.ctx, &pb.AppendRequest{Topic: topic, Records: later}); err != nil {
		return err
	}
	for {
		response, err := tail.Recv()
		if err != nil {
			return err
		}
		if len(response.Records) > 0 {
			return want("the tailed value", string(response.Records[0].Value), "later")
		}
	}
}

func produceAndFetch(c *client) error {
	const topic = "go.produce-fetch"
	if err := c.create(topic, nil); err != nil {
		return err
	}
	plain := batchOf([]byte("one"), []byte("two"))
	checked := batchOf([]byte("three"))
	checked.Crc32C = proto.Uint32(batchCrc(checked))
	damaged := batchOf([]byte("bad"))
	damaged.Crc32C = proto.Uint32(batchCrc(damaged) + 1)
	acks, err := c.produce(topic, plain, checked, damaged)
	if err != nil {
		return err
	}
	if err := first(
		want("offset of the first batch", acks[0].BaseOffset, int64(0)), want("crc_computed", acks[0].CrcComputed, true),
		want("offset of the second batch", acks[1].BaseOffset, int64(2)), want("crc_computed", acks[1].CrcComputed, false),
		want("error of the damaged batch", acks[2].GetError().GetCode(), pb.Error_CORRUPT_MESSAGE)); err != nil {
		return err
	}

	stream, err := c.fetch()
	if err != nil {
		return err
	}
	defer stream.CloseSend()
	if err := subscribe(stream, topic, mib); err != nil {
		return err
	}
	batches, err := receive(stream, 2)
	if err != nil {
		return err
	}
	plain.Crc32C = proto.Uint32(batchCrc(plain)) // what the broker added
	for i, sent := range []*pb.RecordBatch{plain, checked} {
		if !proto.Equal(batches[i].Batch, sent) {
			return fmt.Errorf("batch %d is %v, not %v", i, batches[i].Batch, sent)
		}
	}
	return nil
}

func fetchByCredit(c *client) error {
	const topic = "go.credit"
	if err := c.create(topic, nil); err != nil {
		return err
	}
	for i := 0; i < 5; i++ {
		if _, err := c.produce(topic, batchOf(make([]byte, 1000))); err != nil {
			return err
		}
	}
	stream, err := c.fetch()
	if err != nil {
		return err
	}
	defer stream.CloseSend()
	if err := subscribe(stream, topic, 1); err != nil {
		return err
	}
	if _, err := receive(stream, 1); err != nil { // one batch may overdraw the credit
		return err
	}
	if err := stream.Send(&pb.FetchRequest{Ping: 7}); err != nil {
		return err
	}
	for pong := false; !pong; {
		response, err := stream.Recv()
		if err != nil {
			return err
		}
		for _, partition := range response.Partitions {
			if err := want("batches without credit", len(partition.Batches), 0); err != nil {
				return err
			}
		}
		pong = response.Ping == 7
	}
	if err := stream.Send(&pb.FetchRequest{Credit: mib}); err != nil {
		return err
	}
	_, err = receive(stream, 4)
	return err
}

func largeRecords(c *client) error {
	const topic = "go.large"
	if err := c.create(topic, map[string]string{"max.message.bytes": fmt.Sprint(4 * mib)}); err != nil {
		return err
	}
	var values [][]byte
	var batches []*pb.RecordBatch
	for i := byte(0); i < 3; i++ {
		values = append(values, bytes.Repeat([]byte{i}, 3*mib))
		batches = append(batches, batchOf(values[i]))
	}
	if _, err := c.produce(topic, batches...); err != nil {
		return err
	}
	for offset := int64(0); offset < 3; {
		reply, err := c.broker.Read(c.ctx, &pb.ReadRequest{Topic: topic, Offset: offset})
		if err != nil {
			return err
		}
		for i, record := range reply.Records {
			if !bytes.Equal(record.Value, values[offset+int64(i)]) {
				return fmt.Errorf("record %d came back changed", offset+int64(i))
			}
		}
		offset = reply.NextOffset
	}

	stream, err := c.fetch()
	if err != nil {
		return err
	}
	defer stream.CloseSend()
	if err := subscribe(stream, topic, 100*mib); err != nil {
		return err
	}
	fetched, err := receive(stream, 3)
	if err != nil {
		return err
	}
	for i, batch := range fetched {
		got, err := valuesIn(batch.Batch)
		if err != nil {
			return err
		}
		if len(got) != 1 || !bytes.Equal(got[0], values[i]) {
			return fmt.Errorf("batch %d came back changed", i)
		}
	}
	return nil
}

func batchTooLarge(c *client) error {
	const topic = "go.batch-too-large"
	if err := c.create(topic, nil); err != nil {
		return err
	}
	value := make([]byte, 3*mib/2)
	acks, err := c.produce(topic, batchOf(value), batchOf([]byte("small")))
	if err != nil {
		return err
	}
	var trailer metadata.MD
	_, err = c.broker.Append(c.ctx, &pb.AppendRequest{Topic: topic, Records: []*pb.PlainRecord{{Value: value}}},
		grpc.Trailer(&trailer))
	appendError, err := errorOf(err, trailer)
	if err != nil {
		return err
	}
	for _, e := range []*pb.Error{acks[0].GetError(), appendError} {
		if err := first(want("error", e.GetCode(), pb.Error_MESSAGE_TOO_LARGE), want("topic", e.GetTopic(), topic),
			want("limit", e.GetLimit(), int64(mib)), want("size over the limit", e.GetSize() > 3*mib/2, true)); err != nil {
			return err
		}
	}
	return want("error of the small batch behind it", acks[1].GetError().GetCode(), pb.Error_NONE)
}

func replyTooLarge(c *client) error {
	const topic = "go.reply-too-large"
	if err := c.create(topic, map[string]string{"max.message.bytes": fmt.Sprint(8 * mib)}); err != nil {
		return err
	}
	if _, err := c.produce(topic, batchOf(make([]byte, 4_100_000))); err != nil {
		return err
	}
	var trailer metadata.MD
	_, err := c.broker.Read(c.ctx, &pb.ReadRequest{Topic: topic}, grpc.Trailer(&trailer))
	readError, err := errorOf(err, trailer)
	if err != nil {
		return err
	}
	stream, err := c.fetch()
	if err != nil {
		return err
	}
	defer stream.CloseSend()
	if err := subscribe(stream, topic, 100*mib); err != nil {
		return err
	}
	var fetchError *pb.Error
	for fetchError == nil {
		response, err := stream.Recv()
		if err != nil {
			return err
		}
		for _, partition := range response.Partitions {
			fetchError = partition.Error
		}
	}
	for _, e := range []*pb.Error{readError, fetchError} {
		if err := first(want("error", e.Code, pb.Error_REPLY_TOO_LARGE), want("topic", e.Topic, topic),
			want("naming the option", strings.Contains(e.Message, "grpc.max_receive_message_length"), true)); err != nil {
			return err
		}
	}
	return nil
}

func health(c *client) error {
	reply, err := grpc_health_v1.NewHealthClient(c.conn).Check(c.ctx, &grpc_health_v1.HealthCheckRequest{})
	if err != nil {
		return err
	}
	return want("status", reply.Status, grpc_health_v1.HealthCheckResponse_SERVING)
}

func reflection(c *client) error {
	stream, err := grpc_reflection_v1alpha.NewServerReflectionClient(c.conn).ServerReflectionInfo(c.ctx)
	if err != nil {
		return err
	}
	defer stream.CloseSend()
	request := &grpc_reflection_v1alpha.ServerReflectionRequest{
		MessageRequest: &grpc_reflection_v1alpha.ServerReflectionRequest_ListServices{ListServices: "*"},
	}
	if err := stream.Send(request); err != nil {
		return err
	}
	reply, err := stream.Recv()
	if err != nil {
		return err
	}
	names := map[string]bool{}
	for _, service := range reply.GetListServicesResponse().GetService() {
		names[service.Name] = true
	}
	return first(want("Broker listed", names["millrace.v1.Broker"], true), want("Admin listed", names["millrace.v1.Admin"], true))
}
