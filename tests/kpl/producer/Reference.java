import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpsConfigurator;
import com.sun.net.httpserver.HttpsServer;
import java.io.IOException;
import java.io.InputStream;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyStore;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import javax.net.ssl.KeyManagerFactory;
import javax.net.ssl.SSLContext;
import software.amazon.awssdk.auth.credentials.AwsBasicCredentials;
import software.amazon.awssdk.auth.credentials.StaticCredentialsProvider;
import software.amazon.kinesis.producer.KinesisProducer;
import software.amazon.kinesis.producer.KinesisProducerConfiguration;

/**
 * Aggregates with the KPL, whose native process sends what it made to a stream of one shard that
 * this program plays, on the loopback interface: a request on stdin, the answer on stdout.
 * README.md says what they hold.
 */
class Reference {
    static final ObjectMapper json = new ObjectMapper();
    static final LinkedBlockingQueue<JsonNode> put = new LinkedBlockingQueue<>();

    public static void main(String[] args) throws Exception {
        JsonNode request = json.readTree(System.in);
        ObjectNode answer = json.createObjectNode()
                .put("packages", version("software.amazon.kinesis", "amazon-kinesis-producer"));
        Path temporary = Files.createTempDirectory("kpl");
        HttpsServer server = serve(temporary.resolve("keys"));
        int port = server.getAddress().getPort();
        KinesisProducer producer = new KinesisProducer(new KinesisProducerConfiguration()
                .setKinesisEndpoint("127.0.0.1").setKinesisPort(port)
                .setCloudwatchEndpoint("127.0.0.1").setCloudwatchPort(port)
                .setStsEndpoint("127.0.0.1").setStsPort(port)
                .setVerifyCertificate(false).setMetricsLevel("none").setRegion("us-east-1")
                .setCredentialsProvider(StaticCredentialsProvider.create(AwsBasicCredentials.create("test", "test")))
                .setAggregationMaxSize(1 << 20).setRecordMaxBufferedTime(300_000).setRecordTtl(600_000)
                .setTempDirectory(temporary.toString()));
        try {
            // It aggregates nothing before it knows the shards.
            JsonNode first = json.readTree("[{\"partitionKey\": \"k\", \"data\": \"\"}, {\"partitionKey\": \"k\", \"data\": \"\"}]");
            while (aggregate(producer, first).size() > 1) {
                Thread.sleep(100);
            }
            ObjectNode aggregated = answer.putObject("aggregate");
            for (var all = request.get("aggregate").fields(); all.hasNext(); ) {
                var one = all.next();
                JsonNode records = aggregate(producer, one.getValue());
                if (records.size() != 1) {
                    throw new IllegalStateException(one.getKey() + " became " + records.size() + " Kinesis records");
                }
                aggregated.putObject(one.getKey())
                        .put("partitionKey", records.get(0).get("PartitionKey").asText())
                        .put("explicitHashKey", records.get(0).get("ExplicitHashKey").asText())
                        .put("data", records.get(0).get("Data").asText());
            }
            json.writeValue(System.out, answer);
        } finally {
            producer.destroy();
            server.stop(0);
            try (var files = Files.walk(temporary)) {
                files.sorted(Comparator.reverseOrder()).forEach(file -> file.toFile().delete());
            }
        }
        System.exit(0);
    }

    /** The Kinesis records that the KPL made of user records. */
    static JsonNode aggregate(KinesisProducer producer, JsonNode records) throws Exception {
        List<Future<?>> sent = new ArrayList<>();
        for (JsonNode r : records) {
            String explicit = r.has("explicitHashKey") ? r.get("explicitHashKey").asText() : null;
            sent.add(producer.addUserRecord("stream", r.get("partitionKey").asText(), explicit, ByteBuffer.wrap(r.get("data").binaryValue())));
        }
        producer.flush();
        for (Future<?> one : sent) {
            one.get(30, TimeUnit.SECONDS);
        }
        ArrayNode all = json.createArrayNode();
        for (JsonNode some; (some = put.poll()) != null; ) {
            some.forEach(all::add);
        }
        return all;
    }

    /** Kinesis, as far as the KPL needs it. It speaks TLS only, but to anyone. */
    static HttpsServer serve(Path store) throws Exception {
        new ProcessBuilder("keytool", "-genkeypair", "-alias", "kinesis", "-keyalg", "RSA", "-dname", "CN=127.0.0.1",
                "-storetype", "PKCS12", "-storepass", "changeit", "-keystore", store.toString())
                .redirectOutput(ProcessBuilder.Redirect.DISCARD).redirectError(ProcessBuilder.Redirect.DISCARD).start().waitFor();
        KeyStore keys = KeyStore.getInstance("PKCS12");
        try (InputStream in = Files.newInputStream(store)) {
            keys.load(in, "changeit".toCharArray());
        }
        KeyManagerFactory managers = KeyManagerFactory.getInstance(KeyManagerFactory.getDefaultAlgorithm());
        managers.init(keys, "changeit".toCharArray());
        SSLContext tls = SSLContext.getInstance("TLS");
        tls.init(managers.getKeyManagers(), null, null);
        HttpsServer server = HttpsServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0);
        server.setHttpsConfigurator(new HttpsConfigurator(tls));
        server.setExecutor(Executors.newCachedThreadPool());
        server.createContext("/", Reference::answer);
        server.start();
        return server;
    }

    static void answer(HttpExchange call) throws IOException {
        JsonNode body = json.readTree(call.getRequestBody());
        ObjectNode out = json.createObjectNode();
        switch (String.valueOf(call.getRequestHeaders().getFirst("X-Amz-Target"))) {
            case "Kinesis_20131202.ListShards" -> {
                ObjectNode shard = out.putArray("Shards").addObject().put("ShardId", "shardId-000000000000");
                shard.putObject("HashKeyRange").put("StartingHashKey", "0").put("EndingHashKey", "340282366920938463463374607431768211455");
                shard.putObject("SequenceNumberRange").put("StartingSequenceNumber", "1");
            }
            case "Kinesis_20131202.PutRecords" -> {
                ArrayNode results = out.put("FailedRecordCount", 0).putArray("Records");
                for (JsonNode r : body.get("Records")) {
                    results.addObject().put("ShardId", "shardId-000000000000").put("SequenceNumber", "1");
                }
                put.add(body.get("Records"));
            }
            default -> { }
        }
        byte[] bytes = json.writeValueAsBytes(out);
        call.getResponseHeaders().set("Content-Type", "application/x-amz-json-1.1");
        call.sendResponseHeaders(200, bytes.length);
        call.getResponseBody().write(bytes);
        call.close();
    }

    /** The version that a jar of Maven says it has. */
    static String version(String group, String artifact) throws Exception {
        var properties = new java.util.Properties();
        try (var in = Reference.class.getResourceAsStream("/META-INF/maven/" + group + "/" + artifact + "/pom.properties")) {
            properties.load(in);
        }
        return artifact + " " + properties.getProperty("version");
    }
}
