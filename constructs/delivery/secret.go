package delivery

import (
	"github.com/aws/aws-cdk-go/awscdk/v2/awskinesisfirehose"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssecretsmanager"
	"github.com/aws/jsii-runtime-go"
)

// secret lets Firehose's role read a secret, and names it to Firehose, which reads
// it again every ten minutes.
func (d *Delivery) secret(s awssecretsmanager.ISecret) *awskinesisfirehose.CfnDeliveryStream_SecretsManagerConfigurationProperty {
	arn := *s.SecretArn()
	if s.SecretFullArn() == nil {
		// It is imported by its name: Secrets Manager has appended six characters.
		arn += "-??????"
	}
	d.allow([]*string{jsii.String(arn)}, "secretsmanager:GetSecretValue")
	if key := s.EncryptionKey(); key != nil {
		d.keep(key.Grant(d.role, jsii.String("kms:Decrypt")))
	}
	return &awskinesisfirehose.CfnDeliveryStream_SecretsManagerConfigurationProperty{
		Enabled: jsii.Bool(true), SecretArn: s.SecretArn(), RoleArn: d.role.RoleArn(),
	}
}
