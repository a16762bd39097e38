package main

import (
	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	blockBytes  = 4096
	blockCount  = 20000
	mostBlocks  = 256
	volumeBytes = 2 * blockBytes * blockCount
)

// GetMetadataAllocated streams every second block. Snapshot "missing" is not found, and the stream of
// "breaking" ends in ABORTED after two messages.
func (d *driver) GetMetadataAllocated(
	request *csi.GetMetadataAllocatedRequest, stream csi.SnapshotMetadata_GetMetadataAllocatedServer,
) error {
	if request.GetSnapshotId() == "missing" {
		return status.Error(codes.NotFound, "no snapshot \"missing\"")
	}
	most := mostBlocks
	if request.GetMaxResults() > 0 {
		most = int(request.GetMaxResults())
	}
	for first, sent := 0, 0; first < blockCount; first, sent = first+most, sent+1 {
		if request.GetSnapshotId() == "breaking" && sent == 2 {
			return status.Error(codes.Aborted, "the snapshot is being deleted")
		}
		response := &csi.GetMetadataAllocatedResponse{
			BlockMetadataType:   csi.BlockMetadataType_FIXED_LENGTH,
			VolumeCapacityBytes: volumeBytes,
		}
		for block := first; block < min(first+most, blockCount); block++ {
			response.BlockMetadata = append(response.BlockMetadata, &csi.BlockMetadata{
				ByteOffset: int64(block) * 2 * blockBytes, SizeBytes: blockBytes,
			})
		}
		if err := stream.Send(response); err != nil {
			return err
		}
	}
	return nil
}
