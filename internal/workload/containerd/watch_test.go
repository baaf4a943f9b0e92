package containerd

import (
	"testing"

	"github.com/containerd/containerd/api/events"
	"github.com/containerd/containerd/api/types"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

func TestMatters(t *testing.T) {
	for _, c := range []struct {
		topic string
		event proto.Message
		want  bool
	}{
		{"/tasks/exit", &events.TaskExit{ContainerID: "a", ID: "a"}, true},
		{"/tasks/exit", &events.TaskExit{ContainerID: "a", ID: "probe"}, false},
		{"/tasks/exit", &events.TaskStart{}, true}, // what cannot be read may matter
		{"/tasks/exit", nil, true},
		{"/snapshot/remove", &events.SnapshotRemove{Key: "a"}, true},
		{"/snapshot/remove", &events.SnapshotRemove{Key: viewPrefix + "x"}, false},
		{"/snapshot/remove", &events.SnapshotRemove{Key: "default/7/" + viewPrefix + "x"}, false},
		{"/snapshot/commit", &events.SnapshotCommit{Name: "a"}, true},
		{"/containers/create", nil, true},
		{"", nil, true},
	} {
		e := &types.Envelope{Topic: c.topic}
		if c.event != nil {
			// As containerd writes them: without "type.googleapis.com/".
			value, err := proto.Marshal(c.event)
			if err != nil {
				t.Fatal(err)
			}
			e.Event = &anypb.Any{TypeUrl: string(c.event.ProtoReflect().Descriptor().FullName()), Value: value}
		}
		if got := matters(e); got != c.want {
			t.Errorf("%s %v: %v", c.topic, c.event, got)
		}
	}
	if !matters(nil) {
		t.Error("nothing at all")
	}
}
