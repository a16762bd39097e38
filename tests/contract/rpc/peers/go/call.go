package main

import (
	"context"
	"encoding/json"
	"io"
	"os"
	"sort"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
)

const (
	callLimit  = 10 * time.Second
	shortLimit = 300 * time.Millisecond
	mib        = 1 << 20
)

// outcome is what became of a call: the status, and what the answer said.
type outcome struct {
	Code    uint32 `json:"code"`
	Message string `json:"message"`
	Answer  any    `json:"answer"`
}

// walk makes calls one by one and remembers the outcomes by the name of the step.
type walk map[string]outcome

func (w walk) step(name string, limit time.Duration, make func(ctx context.Context) (any, error)) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	answer, err := make(ctx)
	said := status.Convert(err)
	w[name] = outcome{uint32(said.Code()), said.Message(), answer}
}

func call(socket string) error {
	connection, err := grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer connection.Close()
	outcomes := walk{}
	outcomes.identity(csi.NewIdentityClient(connection))
	outcomes.controller(csi.NewControllerClient(connection))
	outcomes.stream(csi.NewSnapshotMetadataClient(connection))
	return json.NewEncoder(os.Stdout).Encode(outcomes)
}

func (w walk) identity(client csi.IdentityClient) {
	w.step("Probe", callLimit, func(ctx context.Context) (any, error) {
		response, err := client.Probe(ctx, &csi.ProbeRequest{})
		return response.GetReady().GetValue(), err
	})
	w.step("GetPluginInfo", callLimit, func(ctx context.Context) (any, error) {
		response, err := client.GetPluginInfo(ctx, &csi.GetPluginInfoRequest{})
		return response.GetName(), err
	})
	w.step("GetPluginCapabilities", callLimit, func(ctx context.Context) (any, error) {
		response, err := client.GetPluginCapabilities(ctx, &csi.GetPluginCapabilitiesRequest{})
		names := []string{}
		for _, capability := range response.GetCapabilities() {
			if service := capability.GetService(); service != nil {
				names = append(names, service.GetType().String())
			}
		}
		sort.Strings(names)
		return names, err
	})
}

func (w walk) controller(client csi.ControllerClient) {
	mode := &csi.VolumeCapability_AccessMode{Mode: csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER}
	capability := &csi.VolumeCapability{
		AccessMode: mode,
		AccessType: &csi.VolumeCapability_Mount{Mount: &csi.VolumeCapability_MountVolume{}},
	}
	create := func(step, name string, size int64) {
		w.step(step, callLimit, func(ctx context.Context) (any, error) {
			response, err := client.CreateVolume(ctx, &csi.CreateVolumeRequest{
				Name:               name,
				CapacityRange:      &csi.CapacityRange{RequiredBytes: size, LimitBytes: size},
				VolumeCapabilities: []*csi.VolumeCapability{capability},
			})
			return map[string]any{
				"volume_id": response.GetVolume().GetVolumeId(), "capacity_bytes": response.GetVolume().GetCapacityBytes(),
			}, err
		})
	}
	remove := func(step, volumeID string, limit time.Duration) {
		w.step(step, limit, func(ctx context.Context) (any, error) {
			_, err := client.DeleteVolume(ctx, &csi.DeleteVolumeRequest{VolumeId: volumeID})
			return nil, err
		})
	}
	create("CreateVolume", "from-peer", 8*mib)
	create("CreateVolume again", "from-peer", 8*mib)
	create("CreateVolume larger", "from-peer", 16*mib)
	create("CreateVolume nameless", "", 8*mib)
	made, _ := w["CreateVolume"].Answer.(map[string]any)
	volumeID, _ := made["volume_id"].(string)
	w.step("ListVolumes", callLimit, func(ctx context.Context) (any, error) {
		response, err := client.ListVolumes(ctx, &csi.ListVolumesRequest{})
		ids := []string{}
		for _, entry := range response.GetEntries() {
			ids = append(ids, entry.GetVolume().GetVolumeId())
		}
		return ids, err
	})
	remove("DeleteVolume", volumeID, callLimit)
	remove("DeleteVolume again", volumeID, callLimit)
	remove("DeleteVolume slow", "slow", shortLimit)
}

func (w walk) stream(client csi.SnapshotMetadataClient) {
	w.step("GetMetadataAllocated", callLimit, func(ctx context.Context) (any, error) {
		messages, blocks := 0, 0
		stream, err := client.GetMetadataAllocated(ctx, &csi.GetMetadataAllocatedRequest{SnapshotId: "monday"})
		for err == nil {
			var response *csi.GetMetadataAllocatedResponse
			if response, err = stream.Recv(); err == nil {
				messages++
				blocks += len(response.GetBlockMetadata())
			}
		}
		if err == io.EOF {
			err = nil
		}
		return map[string]int{"messages": messages, "blocks": blocks}, err
	})
}
