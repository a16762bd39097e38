package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"sync"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

const driverName = "go.peer.example.com"

// driver keeps volumes in memory, by name, and their data in directories when it has a root.
type driver struct {
	csi.UnimplementedIdentityServer
	csi.UnimplementedControllerServer
	csi.UnimplementedSnapshotMetadataServer

	root    string
	mutex   sync.Mutex
	volumes map[string]*csi.Volume
}

func (d *driver) GetPluginInfo(context.Context, *csi.GetPluginInfoRequest) (*csi.GetPluginInfoResponse, error) {
	manifest := map[string]string{"grpc": grpc.Version}
	return &csi.GetPluginInfoResponse{Name: driverName, VendorVersion: "1.0.0", Manifest: manifest}, nil
}

func (d *driver) Probe(context.Context, *csi.ProbeRequest) (*csi.ProbeResponse, error) {
	return &csi.ProbeResponse{Ready: wrapperspb.Bool(true)}, nil
}

func (d *driver) GetPluginCapabilities(
	context.Context, *csi.GetPluginCapabilitiesRequest,
) (*csi.GetPluginCapabilitiesResponse, error) {
	response := &csi.GetPluginCapabilitiesResponse{}
	for _, service := range []csi.PluginCapability_Service_Type{
		csi.PluginCapability_Service_CONTROLLER_SERVICE,
		csi.PluginCapability_Service_SNAPSHOT_METADATA_SERVICE,
	} {
		response.Capabilities = append(response.Capabilities, &csi.PluginCapability{
			Type: &csi.PluginCapability_Service_{Service: &csi.PluginCapability_Service{Type: service}},
		})
	}
	return response, nil
}

func (d *driver) ControllerGetCapabilities(
	context.Context, *csi.ControllerGetCapabilitiesRequest,
) (*csi.ControllerGetCapabilitiesResponse, error) {
	kinds := []csi.ControllerServiceCapability_RPC_Type{
		csi.ControllerServiceCapability_RPC_CREATE_DELETE_VOLUME,
		csi.ControllerServiceCapability_RPC_LIST_VOLUMES,
	}
	if d.root != "" {
		kinds = append(kinds, csi.ControllerServiceCapability_RPC_CLONE_VOLUME)
	}
	response := &csi.ControllerGetCapabilitiesResponse{}
	for _, kind := range kinds {
		response.Capabilities = append(response.Capabilities, &csi.ControllerServiceCapability{
			Type: &csi.ControllerServiceCapability_Rpc{Rpc: &csi.ControllerServiceCapability_RPC{Type: kind}},
		})
	}
	return response, nil
}

func (d *driver) CreateVolume(ctx context.Context, request *csi.CreateVolumeRequest) (*csi.CreateVolumeResponse, error) {
	if err := failure(ctx, request.GetParameters()); err != nil {
		return nil, err
	}
	for _, capability := range request.GetVolumeCapabilities() {
		if capability.GetBlock() != nil {
			return nil, status.Error(codes.InvalidArgument, "volumes are directories and have no block access")
		}
	}
	d.mutex.Lock()
	defer d.mutex.Unlock()
	size := request.GetCapacityRange().GetRequiredBytes()
	if known := d.volumes[request.GetName()]; known != nil {
		if known.CapacityBytes != size {
			return nil, status.Errorf(codes.AlreadyExists, "%q has %d bytes", request.GetName(), known.CapacityBytes)
		}
		return &csi.CreateVolumeResponse{Volume: known}, nil
	}
	volume := &csi.Volume{
		VolumeId:      "go-" + request.GetName(),
		CapacityBytes: size,
		VolumeContext: request.GetParameters(),
		ContentSource: request.GetVolumeContentSource(),
	}
	if err := d.makeDirectory(volume); err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	d.volumes[request.GetName()] = volume
	return &csi.CreateVolumeResponse{Volume: volume}, nil
}

// makeDirectory makes the place of the volume's data, with a copy of its source.
func (d *driver) makeDirectory(volume *csi.Volume) error {
	if d.root == "" {
		return nil
	}
	if source := volume.GetContentSource().GetVolume().GetVolumeId(); source != "" {
		return os.CopyFS(d.path(volume.VolumeId), os.DirFS(d.path(source)))
	}
	return os.Mkdir(d.path(volume.VolumeId), 0o755)
}

func (d *driver) path(volumeID string) string {
	return filepath.Join(d.root, filepath.Base(volumeID))
}

func (d *driver) DeleteVolume(ctx context.Context, request *csi.DeleteVolumeRequest) (*csi.DeleteVolumeResponse, error) {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	name := strings.TrimPrefix(request.GetVolumeId(), "go-")
	if d.root != "" && d.volumes[name] != nil {
		if err := os.RemoveAll(d.path(request.GetVolumeId())); err != nil {
			return nil, status.Error(codes.Internal, err.Error())
		}
	}
	delete(d.volumes, name)
	return &csi.DeleteVolumeResponse{}, nil
}

func (d *driver) ListVolumes(ctx context.Context, request *csi.ListVolumesRequest) (*csi.ListVolumesResponse, error) {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	var names []string
	for name := range d.volumes {
		if name >= request.GetStartingToken() {
			names = append(names, name)
		}
	}
	sort.Strings(names)
	response := &csi.ListVolumesResponse{}
	for index, name := range names {
		if limit := int(request.GetMaxEntries()); limit > 0 && index == limit {
			response.NextToken = name
			break
		}
		response.Entries = append(response.Entries, &csi.ListVolumesResponse_Entry{Volume: d.volumes[name]})
	}
	return response, nil
}

// failure does what the parameters of a request ask for: `hang` waits until the caller gives up, and
// `fail_code`, a number, fails with a message of `message_bytes` and with a google.rpc.ErrorInfo.
func failure(ctx context.Context, parameters map[string]string) error {
	if parameters["hang"] != "" {
		fmt.Println("hanging")
		<-ctx.Done()
		fmt.Println("given up:", ctx.Err())
		return status.FromContextError(ctx.Err()).Err()
	}
	code, err := strconv.Atoi(parameters["fail_code"])
	if err != nil {
		return nil
	}
	size, _ := strconv.Atoi(parameters["message_bytes"])
	message := "asked to fail: " + strings.Repeat("x", max(0, size-len("asked to fail: ")))
	info := &errdetails.ErrorInfo{Reason: "ASKED_TO_FAIL", Domain: driverName}
	full, err := status.New(codes.Code(code), message).WithDetails(info)
	if err != nil {
		return err
	}
	return full.Err()
}
