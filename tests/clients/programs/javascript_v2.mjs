// Asks STS who it is, for ever: the AWS SDK for JavaScript, version 2.
import aws from "aws-sdk";

const client = new aws.STS({ endpoint: process.env.ENDPOINT, maxRetries: 0 });
for (;;) {
  try {
    await client.getCallerIdentity().promise();
  } catch (error) {
    console.error(String(error));
  }
  await new Promise((done) => setTimeout(done, 2000));
}
