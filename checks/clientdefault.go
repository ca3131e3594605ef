package checks

import (
	"fmt"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// clientDefaultEndpoint is said of a client whose own words were given: that
// nothing listens on port 8080 has a hundred other reasons.
var clientDefaultEndpoint = &Check{
	Name:     "client-default-endpoint",
	Doc:      "the client has no configuration and falls back to its built-in address on this machine",
	Stage:    StageListen,
	Intent:   facts.Connect,
	Needs:    []facts.Group{facts.GroupSockets},
	Uses:     []facts.Group{facts.GroupEnvironment, facts.GroupDials},
	Explains: []*Check{refused},
	Refines:  []*Check{noListener},
	Run: func(f *facts.Facts) []Finding {
		none, e := abandoned(f), f.Target.Error
		// The server's address of client-go's default configuration
		// (k8s.io/client-go/tools/clientcmd, getDefaultCluster); Helm is built with it.
		if len(none) == 0 || e == nil || f.Target.Port != 8080 || e.Client != "kubectl" && !strings.Contains(e.Text, "Kubernetes cluster unreachable") {
			return nil
		}
		name := cond(e.Client == "kubectl", "kubectl", "Helm")
		x := Finding{Affects: none, Certainty: Inferred, Evidence: []Evidence{{"--error", e.Text}},
			Summary: fmt.Sprintf("%s has no configuration, so it asks its built-in address localhost:8080, where nothing listens: it does not know of any cluster.", name),
			Fixes: []Fix{{Do: "Give it its configuration: export KUBECONFIG=$HOME/.kube/config (kubeadm: /etc/kubernetes/admin.conf, k3s: /etc/rancher/k3s/k3s.yaml). With sudo it looks in root's home: sudo KUBECONFIG=FILE kubectl get nodes."},
				{Do: "Get one: minikube start; kind export kubeconfig; aws eks update-kubeconfig; gcloud container clusters get-credentials; az aks get-credentials."}}}
		if v, set := f.Environment.Get("KUBECONFIG"); set && v != "" {
			x.Summary = fmt.Sprintf("%s finds no cluster in KUBECONFIG=%s, so it asks its built-in address localhost:8080, where nothing listens.", name, v)
			x.Fixes[0].Do = "See whether that file exists, may be read and has a current-context: kubectl config view."
		}
		return []Finding{x}
	},
}
