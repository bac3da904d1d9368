package main

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"

	"google.golang.org/protobuf/proto"

	pb "millrace/v1"
)

const baseTimestamp = 1_700_000_000_000

func batchOf(values ...[]byte) *pb.RecordBatch {
	records := &pb.Records{}
	for _, value := range values {
		records.Records = append(records.Records, &pb.Record{Value: value})
	}
	payload, err := proto.Marshal(records)
	if err != nil {
		panic(err)
	}
	return &pb.RecordBatch{
		BaseTimestamp: baseTimestamp,
		MaxTimestamp:  baseTimestamp,
		RecordCount:   int32(len(values)),
		Payload:       payload,
	}
}

// batchCrc is the checksum over the layout in record.proto.
func batchCrc(b *pb.RecordBatch) uint32 {
	var covered bytes.Buffer
	for _, field := range []interface{}{
		b.BaseTimestamp, b.MaxTimestamp, b.RecordCount, int32(b.Codec), b.PayloadFormat, b.ProducerEpoch, b.ProducerId,
		b.BaseSequence, b.SchemaId, b.TtlMs, b.DeliverAt, b.TransactionId, b.UncompressedBytes,
	} {
		if err := binary.Write(&covered, binary.LittleEndian, field); err != nil {
			panic(err)
		}
	}
	covered.Write(b.Payload)
	return crc32.Checksum(covered.Bytes(), crc32.MakeTable(crc32.Castagnoli))
}

func valuesIn(b *pb.RecordBatch) ([][]byte, error) {
	records := &pb.Records{}
	if err := proto.Unmarshal(b.Payload, records); err != nil {
		return nil, err
	}
	var values [][]byte
	for _, record := range records.Records {
		values = append(values, record.Value)
	}
	return values, nil
}
