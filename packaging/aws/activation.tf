# An activation for a wave of servers, in Terraform or OpenTofu. It lives for 30 days at most. `terraform apply`, run
# every day, replaces it after 28 days, before it expires. Its code is of no use from then on; registered nodes stay.
terraform {
  required_version = ">= 1.3"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.0"
    }
    time = {
      source  = "hashicorp/time"
      version = ">= 0.9"
    }
  }
}

variable "node_role_name" {
  description = "The node role; roles.yaml makes it."
  type        = string
  default     = "RackServer"
}

variable "wave" {
  description = "What the servers of this activation have in common, as a tag of each node."
  type        = string
}

variable "servers" {
  description = "How many servers may register, 1 to 1,000."
  type        = number
  default     = 1

  validation {
    condition     = var.servers >= 1 && var.servers <= 1000
    error_message = "An activation registers 1 to 1,000 servers."
  }
}

variable "advanced_tier" {
  description = "Needed for more than 1,000 nodes in this account and region. It costs money for each node and hour."
  type        = bool
  default     = false
}

resource "time_rotating" "activation" {
  rotation_days = 28
}

resource "aws_ssm_activation" "wave" {
  name               = var.wave
  description        = "rolekeeper, ${var.wave}"
  iam_role           = var.node_role_name
  registration_limit = var.servers
  expiration_date    = timeadd(time_rotating.activation.rotation_rfc3339, "36h")

  tags = {
    Service = "rolekeeper"
    Wave    = var.wave
  }

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_ssm_service_setting" "tier" {
  count         = var.advanced_tier ? 1 : 0
  setting_id    = "/ssm/managed-instance/activation-tier"
  setting_value = "advanced"
}

output "activation_id" {
  description = "For `[node] activation_id`, or rolekeeper_activation_id of the Ansible role."
  value       = aws_ssm_activation.wave.id
}

# It is in the state as well: keep that encrypted, and readable for few.
output "activation_code" {
  description = "The secret half. It is good until the activation expires or is used up."
  value       = aws_ssm_activation.wave.activation_code
  sensitive   = true
}
