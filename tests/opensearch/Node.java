import static org.codelibs.opensearch.runner.OpenSearchRunner.newConfigs;

import org.codelibs.opensearch.runner.OpenSearchRunner;
import org.opensearch.http.HttpInfo;

/**
 * Runs one OpenSearch node on free ports of 127.0.0.1 with its data in the given
 * folder, writes its address to the standard output, and ends with the standard input:
 * so it never outlives the test that started it.
 */
public class Node {
    public static void main(String[] args) throws Exception {
        OpenSearchRunner runner = new OpenSearchRunner();
        runner.onBuild((number, settings) -> {
            settings.put("network.host", "127.0.0.1");
            settings.put("http.port", "0");
            settings.put("transport.port", "0");
            settings.put("discovery.type", "single-node");
            settings.remove("cluster.initial_cluster_manager_nodes");
            settings.remove("discovery.seed_hosts");
            // So little memory for writes that a few requests of 1 MiB at once are too many.
            settings.put("indexing_pressure.memory.limit", "3mb");
            // A full disk of the machine is none of the tests'.
            settings.put("cluster.routing.allocation.disk.threshold_enabled", "false");
        });
        runner.build(newConfigs().basePath(args[0]).numOfNode(1).disableESLogger().useLogger());
        HttpInfo http = runner.client().admin().cluster().prepareNodesInfo().get().getNodes().get(0).getInfo(HttpInfo.class);
        System.out.println("http://127.0.0.1:" + http.address().publishAddress().getPort());
        while (System.in.read() >= 0) {
        }
        runner.close();
    }
}
