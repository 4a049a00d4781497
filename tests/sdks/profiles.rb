# The same as profiles.go, with AWS's SDK for Ruby: what its parser finds in each profile, and the keys of `default`.
require "aws-sdk-core"
require "json"

KEYS = %w[aws_access_key_id aws_secret_access_key aws_session_token].freeze

def read(file, profiles)
  settings = Aws::IniParser.ini_parse(File.read(file))
  profiles.to_h { |profile| [profile, [{ "settings" => settings[profile], "error" => "", **keys(file, profile) }]] }
end

def keys(file, profile)
  return {} if profile != "default"

  found = Aws::SharedCredentials.new(path: file, profile_name: profile).credentials
  KEYS.zip([found&.access_key_id, found&.secret_access_key, found&.session_token]).to_h
rescue Aws::Errors::NoSuchProfileError => error
  { "error" => error.message }
end

files = JSON.parse($stdin.read)
answer = ARGV.map do |directory|
  Dir.chdir(directory) { files.to_h { |file, profiles| [file, read(file, profiles)] } }
end
puts JSON.generate(answer)
