import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.nio.ByteBuffer;
import java.util.Base64;
import java.util.List;
import software.amazon.kinesis.retrieval.AggregatorUtil;
import software.amazon.kinesis.retrieval.KinesisClientRecord;

/** Splits with the KCL: a request on stdin, the answer on stdout. README.md says what they hold. */
class Reference {
    static final ObjectMapper json = new ObjectMapper();

    public static void main(String[] args) throws Exception {
        JsonNode request = json.readTree(System.in);
        ObjectNode answer = json.createObjectNode()
                .put("packages", version("software.amazon.kinesis", "amazon-kinesis-client"));
        ObjectNode splits = answer.putObject("split");
        for (var one : request.get("split").properties()) {
            splits.set(one.getKey(), split(one.getValue()));
        }
        json.writeValue(System.out, answer);
    }

    static ObjectNode split(JsonNode one) throws Exception {
        KinesisClientRecord raw = KinesisClientRecord.builder()
                .partitionKey("outer").sequenceNumber("1").data(ByteBuffer.wrap(one.get("data").binaryValue())).build();
        List<KinesisClientRecord> found = one.has("range")
                ? new AggregatorUtil().deaggregate(List.of(raw), one.get("range").get(0).asText(), one.get("range").get(1).asText())
                : new AggregatorUtil().deaggregate(List.of(raw));
        ObjectNode result = json.createObjectNode();
        if (found.equals(List.of(raw))) {
            return result.put("raw", true);
        }
        var records = result.putArray("records");
        for (KinesisClientRecord r : found) {
            byte[] data = new byte[r.data().remaining()];
            r.data().get(data);
            ObjectNode record = records.addObject()
                    .put("partitionKey", r.partitionKey()).put("data", Base64.getEncoder().encodeToString(data)).put("sub", r.subSequenceNumber());
            if (r.explicitHashKey() != null) {
                record.put("explicitHashKey", r.explicitHashKey());
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
