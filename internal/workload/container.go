package workload

import (
	"errors"
	"time"
)

// Container is a container as its runtime tells of it. Whose processes are in it is
// not the runtime's to say: that is told by the kernel. Strings may hold any bytes.
type Container struct {
	// Runtime is "docker", "podman", "containerd", "cri-o" or what else answered.
	Runtime string
	// Socket is where that listens, if it is not its usual one: whoever gives it a command
	// has to say so.
	Socket string
	// Namespace is containerd's; empty with any other.
	Namespace string
	ID, Name  string
	// PID is the runtime's word for the first process, as numbered where the runtime
	// runs; 0 if there is none. It is a hint only.
	PID int
	// Image is the reference that was asked for ("nginx:1.25", "repo@sha256:…", an
	// ID), and ImageID what that named when the container was made.
	Image, ImageID string
	Labels         map[string]string
	Created        time.Time
	// Running is false for one that has ended, or was not started.
	Running bool
	Rootfs  Rootfs
	// Pod is set for a container of a Kubernetes pod; Sandbox says that it is the one
	// that holds the pod's namespaces.
	Pod     *Pod
	Sandbox bool
}

// Pod is the Kubernetes pod of a container, as far as its labels tell.
type Pod struct {
	Namespace, Name, UID string
	// OwnerKind and OwnerName name the controller ("Deployment", "web"); empty if
	// nothing tells.
	OwnerKind, OwnerName string
}

// Rootfs are the directories, in the mount namespace of the runtime, that a
// container's root is made of.
type Rootfs struct {
	// Driver is the storage driver or snapshotter: "overlay2", "overlayfs", "vfs", …
	Driver string
	// Upper is the writable layer of an overlay, Lower the layers below, topmost
	// first. Both are empty where the driver is no overlay or nothing is known.
	Upper string
	Lower []string
}

// Image is one image in a runtime's local store.
type Image struct {
	// ID is what the runtime calls it: the digest of its configuration, or of its
	// manifest with containerd and Docker's containerd image store.
	ID string
	// Names are the references that name it now; none if it is untagged.
	Names []string
	// Layers are what it is made of, lowest first.
	Layers  []Layer
	Created time.Time
}

// Layer is one layer of an image.
type Layer struct {
	// Digest is that of the layer's uncompressed archive (diff_ids of the image's
	// configuration), "sha256:…".
	Digest string
	// CreatedBy is the instruction of the image's history that made it; empty if the
	// history does not tell.
	CreatedBy string
	// Dir is the directory that holds the layer's files, in the mount namespace of the
	// runtime; empty if it is not unpacked, or not known.
	Dir string
}

// ErrNoImage says that the local store has no such image (any more).
var ErrNoImage = errors.New("no such image")

// ErrNotServed says that something else listens at a socket than what was looked for
// there: a containerd without the CRI, for one.
var ErrNotServed = errors.New("this protocol is not spoken here")
