<?php
// Asks STS who it is, for ever: AsyncAws for PHP.
require "AsyncAws/Core/autoload.php";

$client = new AsyncAws\Core\Sts\StsClient(["endpoint" => getenv("ENDPOINT")]);
while (true) {
    try {
        $client->getCallerIdentity()->resolve();
    } catch (Throwable $error) {
        fwrite(STDERR, $error->getMessage() . "\n");
    }
    sleep(2);
}
