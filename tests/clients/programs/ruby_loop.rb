# Asks STS who it is, for ever: the AWS SDK for Ruby.
require "aws-sdk-core"

client = Aws::STS::Client.new(endpoint: ENV.fetch("ENDPOINT"), retry_limit: 0)
loop do
  begin
    client.get_caller_identity
  rescue StandardError => error
    warn error.message
  end
  sleep 2
end
