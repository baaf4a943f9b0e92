package sensor

//go:generate go run ../internal/schema
