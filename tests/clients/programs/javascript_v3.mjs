// Asks STS who it is, for ever: the AWS SDK for JavaScript, version 3.
import { GetCallerIdentityCommand, STSClient } from "@aws-sdk/client-sts";

const client = new STSClient({ endpoint: process.env.ENDPOINT, maxAttempts: 1 });
for (;;) {
  try {
    await client.send(new GetCallerIdentityCommand({}));
  } catch (error) {
    console.error(String(error));
  }
  await new Promise((done) => setTimeout(done, 2000));
}
