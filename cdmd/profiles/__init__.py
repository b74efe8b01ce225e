"""What is known of a customer: traits, activity indicators, and the shape they are shown in. Pure."""
