import com.amazonaws.kinesis.agg.AggRecord;
import com.amazonaws.kinesis.agg.RecordAggregator;
import com.amazonaws.services.kinesis.clientlibrary.types.UserRecord;
import com.amazonaws.services.kinesis.model.Record;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.nio.ByteBuffer;
import java.util.Base64;
import java.util.List;

/**
 * Aggregates with the Java aggregator, splits with the KCL 1 that it comes with: a request on
 * stdin, the answer on stdout. README.md says what they hold.
 */
class Reference {
    static final ObjectMapper json = new ObjectMapper();

    public static void main(String[] args) throws Exception {
        JsonNode request = json.readTree(System.in);
        ObjectNode answer = json.createObjectNode()
                .put("packages", String.join(", ",
                        version("com.amazonaws", "amazon-kinesis-aggregator"),
                        version("com.amazonaws", "amazon-kinesis-client"),
                        version("com.google.protobuf", "protobuf-java")));
        ObjectNode aggregated = answer.putObject("aggregate");
        for (var all = request.get("aggregate").fields(); all.hasNext(); ) {
            var one = all.next();
            aggregated.set(one.getKey(), aggregate(one.getValue()));
        }
        ObjectNode splits = answer.putObject("split");
        for (var all = request.get("split").fields(); all.hasNext(); ) {
            var one = all.next();
            splits.set(one.getKey(), split(one.getValue()));
        }
        json.writeValue(System.out, answer);
    }

    static ObjectNode aggregate(JsonNode records) throws Exception {
        RecordAggregator aggregator = new RecordAggregator();
        for (JsonNode r : records) {
            String explicit = r.has("explicitHashKey") ? r.get("explicitHashKey").asText() : null;
            if (aggregator.addUserRecord(r.get("partitionKey").asText(), explicit, r.get("data").binaryValue()) != null) {
                throw new IllegalStateException("more than one aggregated record");
            }
        }
        AggRecord a = aggregator.clearAndGet();
        return json.createObjectNode()
                .put("partitionKey", a.getPartitionKey())
                .put("explicitHashKey", a.getExplicitHashKey())
                .put("data", Base64.getEncoder().encodeToString(a.toRecordBytes()));
    }

    static ObjectNode split(JsonNode one) throws Exception {
        Record raw = new Record().withPartitionKey("outer").withSequenceNumber("1")
                .withData(ByteBuffer.wrap(one.get("data").binaryValue()));
        ObjectNode result = json.createObjectNode();
        List<UserRecord> found = UserRecord.deaggregate(List.of(new UserRecord(raw)));
        if (found.size() == 1 && !found.get(0).isAggregated()) {
            return result.put("raw", true);
        }
        ArrayNode records = result.putArray("records");
        for (UserRecord r : found) {
            byte[] data = new byte[r.getData().remaining()];
            r.getData().get(data);
            ObjectNode record = records.addObject()
                    .put("partitionKey", r.getPartitionKey()).put("data", Base64.getEncoder().encodeToString(data)).put("sub", r.getSubSequenceNumber());
            if (r.getExplicitHashKey() != null) {
                record.put("explicitHashKey", r.getExplicitHashKey());
            }
        }
        return result;
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
