package spec

import "time"

// CloudWatch's limits on alarms and dashboards.
var (
	// AlarmPeriod is 10, 20 or 30 seconds or whole minutes.
	AlarmPeriod      = Limit[time.Duration]{10 * time.Second, 7 * 24 * time.Hour, "CloudWatch evaluates periods of 10, 20 or 30 seconds or of whole minutes"}
	AlarmWindow      = Limit[time.Duration]{10 * time.Second, 24 * time.Hour, "CloudWatch looks back one day at most with periods under an hour"}
	AlarmLongWindow  = Limit[time.Duration]{time.Hour, 7 * 24 * time.Hour, "CloudWatch looks back seven days at most"}
	AlarmMetrics     = Limit[int]{1, 10, "PutMetricAlarm takes ten metrics in one expression"}
	AlarmExpression  = Limit[int]{1, 2_048, "PutMetricAlarm MetricDataQuery Expression"}
	AlarmDescription = Limit[int]{0, 1_024, "PutMetricAlarm AlarmDescription"}
	AlarmName        = Limit[int]{1, 255, "PutMetricAlarm AlarmName"}
	AlarmDimensions  = Limit[int]{1, 30, "PutMetricAlarm Dimensions"}
	// AnomalyBand is in standard deviations.
	AnomalyBand = Limit[float64]{0.1, 1_000, "ANOMALY_DETECTION_BAND takes a positive number of standard deviations"}

	CompositeAlarms = Limit[int]{1, 100, "PutCompositeAlarm takes 100 alarms in one rule"}
	CompositeRule   = Limit[int]{1, 10_240, "PutCompositeAlarm AlarmRule"}

	DashboardWidgets = Limit[int]{1, 500, "a CloudWatch dashboard holds 500 widgets"}
	DashboardMetrics = Limit[int]{0, 2_500, "a CloudWatch dashboard draws 2,500 metrics"}
	WidgetMetrics    = Limit[int]{0, 500, "a CloudWatch graph draws 500 metrics"}
	WidgetAlarms     = Limit[int]{1, 100, "an alarm status widget lists 100 alarms"}
)
